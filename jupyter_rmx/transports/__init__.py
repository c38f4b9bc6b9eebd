"""How to talk to a machine: an endpoint (data) becomes a live Transport.

base        the contract: Transport, Process, Pty, ByteStream, RemoteFiles
ssh         asyncssh; the only importer of it here, with ssh_files
pool        one transport for each key, shared, closed when idle, mended when kept; link is one of them
reconnect   when a broken connection is tried again, and when it is parked; watch notices new networks and sleep
"""
