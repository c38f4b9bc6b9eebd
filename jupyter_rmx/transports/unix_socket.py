"""Connecting to a Unix socket: long paths, and a full backlog."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from jupyter_rmx.errors import TransportError

_UNIX_PATH_MAX = 100  # bytes; sun_path holds 104 to 108, by system


def _machine_gone(error: OSError) -> TransportError:
    return TransportError(
        f"The machine is not there any more ({error.strerror or error}).",
        hint="See `%vm ls`; create it again if it ended.",
        code="ssh_unreachable",
    )


async def connected_unix_socket(path: str, timeout_s: float) -> socket.socket:
    """A socket connected to `path`; paths too long for the kernel go by way of the folder's descriptor (Linux).

    Raises TransportError `ssh_unreachable` if nobody listens there, OSError otherwise.
    """
    folder = -1
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if len(os.fsencode(path)) > _UNIX_PATH_MAX:
            folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
            path = f"/proc/self/fd/{folder}/{Path(path).name}"
        await asyncio.wait_for(_connect_unix(sock, path), timeout_s)
    except BaseException as error:
        sock.close()
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)):
            raise _machine_gone(error) from error
        raise
    finally:
        if folder >= 0:
            os.close(folder)
    return sock


async def _connect_unix(sock: socket.socket, path: str) -> None:
    """Connect; a full backlog is EAGAIN here, which asyncio's own sock_connect takes for "on the way"."""
    while True:
        try:
            sock.connect(path)
        except BlockingIOError:
            await asyncio.sleep(0.01)
        else:
            return
