"""The way to an SSH server: a TCP connection of our own, or the two ends of a ProxyCommand (ssh_config(5)).

asyncssh's own `proxy_command` is not used: it takes what the command says on stderr for words of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

COMPLAINT_BYTES = 8192
"""How much of a ProxyCommand's last words on stderr is kept for the error message."""
PROXY_ENDS_WITHIN_S = 2.0
SNIFF_S = 2.0


async def dial_tcp(
    host: str, port: int, *, family: int, bind_address: str | None, timeout_s: float
) -> socket.socket:
    """A connected socket; each address of the host is tried for `timeout_s` seconds.

    Raises OSError (of the last address) or asyncio.TimeoutError. asyncio's own way is not used, since it hides the
    cause where a host has several addresses.
    """
    loop = asyncio.get_running_loop()
    found = await asyncio.wait_for(
        loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM), timeout_s
    )
    last: Exception = OSError(f"no address for {host}")
    for kind, type_, protocol, _, address in found:
        sock = socket.socket(kind, type_, protocol)
        try:
            sock.setblocking(False)
            if bind_address:
                sock.bind((bind_address, 0))
            await asyncio.wait_for(loop.sock_connect(sock, address), timeout_s)
        except (OSError, asyncio.TimeoutError) as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


async def first_words(host: str, port: int, *, family: int, bind_address: str | None) -> str:
    """What a server says that is no SSH server; empty if it says nothing, or cannot be asked."""
    loop = asyncio.get_running_loop()
    try:
        sock = await dial_tcp(host, port, family=family, bind_address=bind_address, timeout_s=SNIFF_S)
    except (OSError, asyncio.TimeoutError):
        return ""
    try:
        await loop.sock_sendall(sock, b"SSH-2.0-jupyter_rmx\r\n")
        said = await asyncio.wait_for(loop.sock_recv(sock, 256), SNIFF_S)
    except (OSError, asyncio.TimeoutError):
        return ""
    finally:
        sock.close()
    first = said.split(b"\n", 1)[0].decode(errors="replace").strip()
    return "".join(char for char in first if char.isprintable())[:80]


class ProxyCommand:
    """A running ProxyCommand."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self._sock: socket.socket | None = sock
        self._process = process
        self._said = b""
        self._reading = asyncio.create_task(self._read())
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: str) -> ProxyCommand:
        """Run `command`, its tokens expanded, as OpenSSH does: by the user's shell, after `exec`."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                os.environ.get("SHELL") or "/bin/sh",
                "-c",
                f"exec {command}",
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # a group of its own, so that all of it can be ended
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(process, ours)

    def take(self) -> socket.socket:
        """Its stdin and stdout as one socket; from now on that is the caller's to close."""
        sock, self._sock = self._sock, None
        assert sock is not None
        return sock

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while said := await self._process.stderr.read(4096):
            self._said = (self._said + said)[-COMPLAINT_BYTES:]

    async def last_words(self) -> str:
        """What it said on stderr; waits a moment for one that is just ending."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._reading), PROXY_ENDS_WITHIN_S)
        return self._said.decode(errors="replace")

    def close(self) -> None:
        """End it and its children: SIGTERM, and SIGKILL after a moment. Returns at once."""
        if self._ending is None:
            if self._sock is not None:
                self._sock.close()
            self._signal(signal.SIGTERM)
            self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        try:
            await asyncio.wait_for(self._process.wait(), PROXY_ENDS_WITHIN_S)
        except asyncio.TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        finally:
            self._reading.cancel()

    def _signal(self, name: signal.Signals) -> None:
        # The leader is not reaped before `returncode` is set, so its number is not anybody else's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, name)

    async def wait_closed(self) -> None:
        """Wait until it is gone; call `close` first."""
        if self._ending is not None:
            await asyncio.shield(self._ending)
