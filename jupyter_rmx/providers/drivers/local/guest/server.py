"""The SSH server of a machine: exec, terminals, SFTP and TCP forwarding on a Unix socket.

Both keys are made here, at each start, and live in memory: the host key's public half and the client's private half
go to the keeper through the answer pipe and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import asyncssh

from jupyter_rmx.providers.drivers.local.guest.launch import answer, to_null
from jupyter_rmx.providers.drivers.local.guest.router import Router
from jupyter_rmx.providers.drivers.local.layout import SOCKET_NAME


class Server(asyncssh.SSHServer):
    """One connection: whoever holds the machine's key may do all that the machine can."""

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """A command, a shell or a subsystem."""
        return Router()

    def connection_requested(self, _host: str, _port: int, _from_host: str, _from_port: int) -> bool:
        """A TCP connection from inside the machine."""
        return True

    def unix_connection_requested(self, _path: str) -> bool:
        """A connection to a Unix socket of the machine."""
        return True

    def server_requested(self, _host: str, _port: int) -> bool:
        """A port of the machine that leads to the client."""
        return True


def listening_socket(run_dir: str) -> socket.socket:
    """The machine's socket. Its name is bound relative to its folder: a path may be longer than a socket's name can be."""
    here = Path.cwd()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o077)
    os.chdir(run_dir)
    try:
        Path(SOCKET_NAME).unlink(missing_ok=True)  # of this machine's life before a restart of the computer
        sock.bind(SOCKET_NAME)
        sock.listen(128)
    finally:
        os.chdir(here)
        os.umask(old)
    return sock


async def serve(config: dict[str, Any]) -> None:
    """Serve until the machine ends."""
    os.chdir(config["home"])
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    client_key = asyncssh.generate_private_key("ssh-ed25519")
    authorized = client_key.export_public_key().decode()
    await asyncssh.listen(
        sock=listening_socket(config["run"]),
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(authorized),
        encoding=None,
        line_editor=False,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        config=[],
    )
    answer(
        {
            "host_key": host_key.export_public_key().decode().strip(),
            "client_key": client_key.export_private_key().decode(),
        }
    )
    to_null(1)
    await asyncio.Event().wait()


def run(config: dict[str, Any]) -> None:
    """Serve; an error on the way up goes to the keeper."""
    try:
        asyncio.run(serve(config))
    except OSError as error:
        answer({"error": str(error)[:300], "errno": error.errno})
        raise
