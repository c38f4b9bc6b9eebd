"""The way to a host: directly, through a ProxyCommand, or over a jump host; it ends with the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import asyncssh

from jupyter_rmx.errors import TransportError
from jupyter_rmx.ssh.resolved import Resolved
from jupyter_rmx.ssh.tokens import expand_proxy_command
from jupyter_rmx.transports import ssh_target_errors as errors
from jupyter_rmx.transports.ssh import SSHTransport, map_ssh_error
from jupyter_rmx.transports.ssh_dial import ProxyCommand, dial_tcp, first_words

_ENDING: set[asyncio.Task[None]] = set()
"""asyncio itself holds tasks weakly only."""
FIRST_SESSION_WITHIN_S = 5.0


class Way:
    """One of three: a socket (`direct` says to where), a ProxyCommand, or the transport of a jump host."""

    def __init__(
        self,
        *,
        sock: Any = None,
        direct: tuple[str, int, int, str | None] | None = None,
        proxy: ProxyCommand | None = None,
        hop: SSHTransport | None = None,
        hop_name: str = "",
    ) -> None:
        self.hop = hop
        self.hop_name = hop_name
        self._sock = sock
        self._direct = direct
        self._proxy = proxy
        self._ended: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Make a jump host fast: OpenSSH turns TCP_NODELAY on only with a session, and forwards stall without."""
        if self.hop is None:
            return
        with contextlib.suppress(
            asyncssh.Error, OSError, asyncio.TimeoutError
        ):  # forwarding only, without shells
            channel, _ = await asyncio.wait_for(
                self.hop.connection.create_session(asyncssh.SSHClientSession, "true", request_pty=False),
                FIRST_SESSION_WITHIN_S,
            )
            channel.close()

    def options(self) -> dict[str, Any]:
        """How asyncssh is told; a socket is handed over."""
        if self.hop is not None:
            return {"tunnel": self.hop.connection}
        sock, self._sock = self._sock, None
        return {"sock": sock}

    async def why_no_server(self, where: str, name: str) -> TransportError:
        """The error where the other end was gone before it said that it is an SSH server."""
        if self._proxy is not None:
            return errors.proxy_failed(where, await self._proxy.last_words(), name)
        if self._direct is not None:
            host, port, family, bind_address = self._direct
            said = await first_words(host, port, family=family, bind_address=bind_address)
            if said and not said.startswith("SSH-"):
                return errors.not_ssh(where, said)
        return errors.hung_up(where)

    def close(self) -> None:
        """End all of it; returns at once."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._proxy is not None:
            self._proxy.close()
        if self._ended is None:
            self._ended = self._task(self._end())

    async def _end(self) -> None:
        if self._proxy is not None:
            await self._proxy.wait_closed()
        if self.hop is not None:
            await self.hop.aclose()

    @staticmethod
    def _task(what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(what)
        _ENDING.add(task)
        task.add_done_callback(_ENDING.discard)
        return task

    async def wait_closed(self) -> None:
        """Wait until all of it has ended; call `close` first."""
        if self._ended is not None:
            await asyncio.shield(self._ended)


async def open_way(resolved: Resolved, where: str, family: int, timeout_s: float) -> Way:
    """A way without a jump host; TransportError as `map_ssh_error` says, or `ssh_proxy_failed`."""
    if resolved.proxy_command is not None:
        command = expand_proxy_command(resolved.proxy_command, resolved)
        try:
            proxy = await ProxyCommand.start(command)
        except OSError as error:
            raise errors.proxy_failed(where, error.strerror or str(error), resolved.hostname) from error
        return Way(sock=proxy.take(), proxy=proxy)
    place = (resolved.hostname, resolved.port)
    try:
        sock = await dial_tcp(*place, family=family, bind_address=resolved.bind_address, timeout_s=timeout_s)
    except (OSError, asyncio.TimeoutError) as error:
        raise map_ssh_error(error, where) from error
    return Way(sock=sock, direct=(*place, family, resolved.bind_address))
