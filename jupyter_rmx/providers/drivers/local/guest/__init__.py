"""What runs inside a machine.

launch    the first Python in it: standard library only; sets up the loopback and reaps orphans where nothing else does
server    the SSH server on a Unix socket
router    a channel becomes a command, a shell or SFTP
session   one command or shell on a channel
child     a process and its group
terminal  a pseudo-terminal
pump      bytes from a pipe or terminal to a channel and back, each at the pace of the slower side
"""
