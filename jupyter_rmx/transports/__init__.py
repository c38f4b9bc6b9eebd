"""How to talk to a machine: an endpoint (data) becomes a live Transport.

base        the contract: Transport, Process, Pty, ByteStream, RemoteFiles
ssh         asyncssh; the only importer of it here, with ssh_files
pool        one transport per machine, opened once under concurrent demand
"""
