"""The first Python in a machine. Run as a script, with the standard library only until the guest proper starts.

Standard input holds one JSON document; standard output takes the answers to the keeper, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_PR_SET_CHILD_SUBREAPER = 36


def answer(document: dict[str, Any]) -> None:
    """Say one line to the keeper."""
    os.write(1, json.dumps(document).encode() + b"\n")


def to_null(*fds: int) -> None:
    """Point descriptors at nothing."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)


def raise_loopback() -> None:
    """Bring `lo` up (netdevice(7)); no `ip` program is needed."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", request)[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def adopt_orphans() -> None:
    """Become the parent of this machine's orphans (prctl(2)), so that all of it stays one tree; Linux only."""
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def supervise() -> None:
    """Fork; the child goes on as the guest, the parent reaps orphans until the guest ends, then ends too."""
    guest = os.fork()
    if guest == 0:
        return
    to_null(0, 1)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(1)
        if pid == guest:
            os._exit(0 if status == 0 else 1)


def main() -> None:
    """Prepare, say hello, become the guest."""
    with open(0, "rb", closefd=False) as stdin:
        config = json.loads(stdin.read())
    to_null(0)
    try:
        os.setsid()
    except PermissionError:
        pass  # the leader of a session already
    os.umask(0o022)
    if config["method"] == "unshare":
        import socket

        raise_loopback()
        socket.sethostname(config["name"])
    answer({"hello": True, "pid": os.getpid()})
    if config["method"] != "bubblewrap":
        if config["method"] == "plain":
            adopt_orphans()
        supervise()
    sys.path.extend(config["import_path"])
    from jupyter_rmx.providers.drivers.local.guest.server import run

    run(config)


if __name__ == "__main__":
    main()
