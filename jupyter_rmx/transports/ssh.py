"""SSH by asyncssh: an SSHEndpoint becomes a live Transport. Import this file late: asyncssh takes about 100 ms.

Only this file and `ssh_files` import asyncssh here, and every exception of asyncssh is mapped by `map_ssh_error`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncssh

from jupyter_rmx.errors import RmxError, TransportError
from jupyter_rmx.models import ExecSpec, Exit, PtySpec, SSHEndpoint, TcpTarget
from jupyter_rmx.transports.base import Capability, RemoteFiles, TransportState
from jupyter_rmx.transports.ssh_command import pty_text, shell_text
from jupyter_rmx.transports.ssh_group import StartMarker
from jupyter_rmx.transports.ssh_process import SSHByteStream, SSHProcess, SSHPty
from jupyter_rmx.transports.ssh_session import ChannelSession
from jupyter_rmx.transports.ssh_shell import LoginShell, direct, login_shell, through_sh
from jupyter_rmx.transports.ssh_slots import SessionSlots
from jupyter_rmx.transports.unix_socket import connected_unix_socket

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 4.0
"""A peer that says nothing is given up after three of these: 12 s."""
SESSION_PATIENCE_S = 5.0
"""How long a command waits for another to end where the server takes no more sessions; then it is an error."""
ASIDE_PATIENCE_S = 0.3
WINDOW = 4 * 1024 * 1024
"""Bytes of output that a server may send ahead of us: enough for 80 MB/s over 50 ms."""
PACKET_MAX = 128 * 1024
HOST_KEY_KINDS = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
]
CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""These first, then asyncssh's own list: AES-GCM is up to 1.7 times as fast (reference/performance.md)."""

# asyncssh logs commands at INFO and values of the environment at DEBUG; both can hold secrets.
if logging.getLogger("asyncssh").level == logging.NOTSET:
    logging.getLogger("asyncssh").setLevel(logging.WARNING)


def connection_lost(error: Exception | None = None) -> TransportError:
    """The error of all that was open when a link went away."""
    reason = f" ({error})" if error is not None and str(error) else ""
    return TransportError(
        f"The connection to the machine was lost{reason}.",
        hint="Check with `%vm ls` whether it still runs, then try again.",
        code="ssh_connection_lost",
    )


def _error(message: str, hint: str, code: str, retryable: bool) -> TransportError:
    return TransportError(message, hint=hint, code=code, retryable=retryable)


def _map_ssh(error: asyncssh.Error, where: str) -> TransportError:
    if isinstance(error, asyncssh.PermissionDenied):
        return _error(
            f"{where} did not accept the key.", "Check the user name and the key.", "ssh_auth_failed", False
        )
    if isinstance(error, asyncssh.HostKeyNotVerifiable) or (
        isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in str(error).lower()
    ):
        return _error(
            f"{where} shows another host key than the one that is known.",
            "Somebody may be in between, or the machine was made anew; nothing was sent. Find out before you go on.",
            "ssh_host_key_changed",
            False,
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return _error(
            f"{where} refused a session: {error.reason}.",
            "It may be at its limit of sessions for one connection (MaxSessions): close a terminal or wait for the other"
            " command. Or it forbids this use.",
            "ssh_session_refused",
            True,
        )
    if isinstance(error, asyncssh.ConnectionLost):
        return connection_lost(error)
    return _error(
        f"{where} and we do not understand each other over SSH: {error}.",
        "Check that an SSH server answers there.",
        "ssh_protocol_error",
        False,
    )


def map_ssh_error(error: Exception, where: str) -> RmxError:
    """The one place where exceptions of asyncssh and of sockets become TransportError; `where` begins the message."""
    if isinstance(error, RmxError):
        return error
    if isinstance(error, asyncssh.Error):
        return _map_ssh(error, where)
    if isinstance(error, (asyncssh.KeyImportError, asyncssh.KeyEncryptionError)):
        return _error("The key cannot be read.", "Make the machine's keys anew.", "ssh_bad_key", False)
    # TimeoutError and asyncio.TimeoutError are one from Python 3.11 on.
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return _error(
            f"{where} does not answer.", "Check that it runs, and the network.", "ssh_timeout", True
        )
    if isinstance(error, socket.gaierror):
        return _error(f"{where} is not a known host.", "Check the name.", "ssh_unknown_host", False)
    if isinstance(error, ConnectionRefusedError):
        return _error(
            f"{where} refused the connection.",
            "Is its SSH server running, and is the port right?",
            "ssh_refused",
            True,
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _error(f"{where} cannot be reached: {reason}.", "Check that it runs.", "ssh_unreachable", True)


@contextmanager
def map_ssh_errors(where: str) -> Iterator[None]:
    """Raise what leaves the block as an error of our tree."""
    try:
        yield
    except (asyncssh.Error, asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError) as error:
        raise map_ssh_error(error, where) from error
    except asyncio.TimeoutError as error:  # not an OSError before Python 3.11
        raise map_ssh_error(error, where) from error


def _at_its_limit(error: BaseException) -> bool:
    """Whether the server may take a session later; not where it took it, but not what was to run in it."""
    codes = {asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE}
    return isinstance(error, asyncssh.ChannelOpenError) and error.code in codes


class _Client(asyncssh.SSHClient):
    """Tells the transport when the link is gone."""

    def __init__(self, lost: Callable[[Exception | None], None]) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once by asyncssh."""
        self._lost(exc)


class SSHTransport:
    """A live SSH connection to one machine (transports.base.Transport); made by `connect`."""

    capabilities: frozenset[Capability] = frozenset({"exec", "pty", "tcp", "sftp"})

    def __init__(self, key: str, where: str, *, takes_signals: bool) -> None:
        self.key = key
        self._where = where
        self._takes_signals = takes_signals
        self._shell: LoginShell | None = None
        self.again: Callable[[], Awaitable[SSHTransport]] | None = None
        """Connects once more without asking anybody; for a signal, where the server takes one session only."""
        self._processes: weakref.WeakSet[SSHProcess] = weakref.WeakSet()
        self._sessions: weakref.WeakSet[ChannelSession] = weakref.WeakSet()
        self._uses = 0
        self._slots = SessionSlots()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._state: TransportState = "ready"
        self._why: Exception | None = None
        self._on_closed: list[Callable[[], None]] = []
        self._session_seen = False
        self._first_session = asyncio.Lock()
        self._files: RemoteFiles | None = None

    @property
    def state(self) -> TransportState:
        """`closed` once the link is known to be gone."""
        return self._state

    @property
    def in_use(self) -> bool:
        """Whether a command, terminal, stream or copy is open on it, or just being opened."""
        return self._uses > 0 or any(not session.ended for session in self._sessions)

    @contextmanager
    def using(self) -> Iterator[None]:
        """`in_use` inside the block."""
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the link is gone; at once if it is gone already."""
        if self._state == "closed":
            callback()
        else:
            self._on_closed.append(callback)

    def link_lost(self, error: Exception | None) -> None:
        """The link is gone; `error` says why, None after `aclose`."""
        self._state = "closed"
        self._why = error
        callbacks, self._on_closed = self._on_closed, []
        for callback in callbacks:
            callback()

    def bind(self, connection: asyncssh.SSHClientConnection) -> None:
        """Give the transport its connection; `connect` does, once."""
        self._connection = connection

    @property
    def connection(self) -> asyncssh.SSHClientConnection:
        """The connection; TransportError `ssh_connection_lost` once it is gone."""
        if self._state == "closed" or self._connection is None:
            raise connection_lost(self._why)
        return self._connection

    def _link_error(self) -> TransportError | None:
        return connection_lost(self._why) if self._state == "closed" else None

    async def settle(self, opening: Awaitable[Any], discard: Callable[[Any], None]) -> Any:
        """Await `opening` so that being cancelled in the middle leaves nothing open: `discard` gets what came."""

        async def run() -> Any:
            return await opening

        def late(done: asyncio.Task[Any]) -> None:
            self._tasks.discard(done)
            if not done.cancelled() and done.exception() is None:
                discard(done.result())

        task = asyncio.create_task(run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._tasks.add(task)
            task.add_done_callback(late)
            raise
        except (asyncssh.ChannelOpenError, asyncssh.ConnectionLost) as error:
            lost = self._link_error()
            if lost is not None:
                raise lost from error
            raise

    async def _session(
        self,
        command: str | None,
        marker: StartMarker | None = None,
        patience_s: float | None = None,
        **options: Any,
    ) -> ChannelSession:
        session = ChannelSession(connection_lost, marker)
        patience_s = SESSION_PATIENCE_S if patience_s is None else patience_s

        async def open_once() -> None:
            opening = self.connection.create_session(
                lambda: session,  # type: ignore[arg-type, return-value] # asyncssh calls its methods, it needs no base class
                command,
                encoding=None,
                window=WINDOW,
                max_pktsize=PACKET_MAX,
                **options,
            )
            await self.settle(opening, lambda _: self._let_go(session))

        with map_ssh_errors(self._where), self.using():
            await self._slots.take(open_once, _at_its_limit, patience_s)
        if session.ended:
            self._slots.free()
        else:
            session.freed = self._slots.free
        self._session_seen = True
        self._sessions.add(session)
        return session

    def _process(self, session: ChannelSession) -> SSHProcess:
        return SSHProcess(session, self._link_error, self.run_aside)

    def _let_go(self, session: ChannelSession) -> None:
        """End what was started for a caller who is gone."""
        task = asyncio.create_task(self._process(session).aclose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run_aside(self, command: str) -> Exit:
        """Run a short command of our own to its end; over a second connection where this one takes no session."""
        try:
            session = await self._session(command, patience_s=ASIDE_PATIENCE_S, request_pty=False)
        except TransportError as error:
            if error.code != "ssh_session_refused" or self.again is None:
                raise
            return await self._run_elsewhere(self.again, command)
        try:
            return await session.wait_exit()
        finally:
            session.abort()

    @staticmethod
    async def _run_elsewhere(again: Callable[[], Awaitable[SSHTransport]], command: str) -> Exit:
        other = await again()
        try:
            other.again = None
            return await other.run_aside(command)
        finally:
            await other.aclose()

    def _learn_shell(self, marker: StartMarker) -> None:
        """Speak to the login shell directly once it is known; ask again where that failed."""
        if self._shell is None:
            self._shell = login_shell(marker)
        elif not marker.started:
            self._shell = None

    async def run(self, spec: ExecSpec) -> SSHProcess:
        """Start a command; UsageError if it cannot be said to a shell."""
        what, marker = shell_text(spec), None
        if not self._takes_signals:
            marker = StartMarker(self._where, self._learn_shell)
            shell = self._shell
            what = direct(shell, marker, what) if shell else through_sh(marker, what)
            marker.sent = what.preamble
        session = await self._session(what.text, marker, request_pty=False)
        process = self._process(session)
        self._processes.add(process)
        try:
            if what.preamble:
                await process.write(what.preamble)
            if not spec.stdin_open:
                await process.write_eof()
        except BaseException:
            self._let_go(session)
            raise
        return process

    async def pty(self, spec: PtySpec) -> SSHPty:
        """Open a pseudo-terminal; TransportError `ssh_session_refused` where the server gives none.

        `env` goes as SSH's own requests (RFC 4254 § 6.4), never in the command; of these OpenSSH takes what its
        `AcceptEnv` names and drops the rest without a word, as for `SendEnv`.
        """
        session = await self._session(
            pty_text(spec),
            request_pty="force",
            term_type=spec.term,
            term_size=(spec.cols, spec.rows),
            env=spec.env,
        )
        return SSHPty(session)

    async def _open_first_session(self) -> None:
        """Run `true` once: OpenSSH turns TCP_NODELAY on only with a session, and forwards stall by 40 ms without."""
        async with self._first_session:
            if self._session_seen:
                return
            self._session_seen = True
            try:
                await self.run_aside("true")
            except TransportError as error:
                if self._state == "closed":
                    raise
                logging.getLogger(__name__).debug("No first session on %s: %s", self._where, error)

    async def dial(self, target: TcpTarget) -> SSHByteStream:
        """Connect from the machine to `target`; TransportError `ssh_port_refused` if nothing listens there."""
        if not self._session_seen:
            await self._open_first_session()
        session = ChannelSession(connection_lost)
        try:
            with map_ssh_errors(self._where), self.using():
                opening = self.connection.create_connection(
                    lambda: session,  # type: ignore[arg-type, return-value] # see _session
                    target.host,
                    target.port,
                    encoding=None,
                )
                await self.settle(opening, lambda _: session.abort())
        except TransportError as error:
            raise self._dial_error(error, target) from error
        self._sessions.add(session)
        return SSHByteStream(session, connection_lost)

    @staticmethod
    def _dial_error(error: TransportError, target: TcpTarget) -> TransportError:
        cause = error.__cause__
        if error.code != "ssh_session_refused" or not isinstance(cause, asyncssh.ChannelOpenError):
            return error
        if cause.code == asyncssh.OPEN_CONNECT_FAILED:
            return _error(
                f"Nothing listens on port {target.port} of the machine.",
                "Start the program there; the port answers as soon as it listens.",
                "ssh_port_refused",
                True,
            )
        return _error(
            f"The machine does not forward connections to port {target.port}: {cause.reason}.",
            "Its SSH server must allow TCP forwarding (AllowTcpForwarding).",
            "ssh_forwarding_denied",
            False,
        )

    def files(self) -> RemoteFiles:
        """Files on the machine, by SFTP."""
        if self._files is None:
            from jupyter_rmx.transports.ssh_files import SSHFiles

            self._files = SSHFiles(self, self._where)
        return self._files

    async def aclose(self) -> None:
        """Close, and end all that is open; a peer that does not answer is not waited for."""
        connection = self._connection
        if connection is None or self._state == "closed":
            return
        await asyncio.gather(*(process.aclose() for process in list(self._processes)))
        connection.close()
        try:
            await asyncio.wait_for(connection.wait_closed(), 2.0)
        except asyncio.TimeoutError:
            connection.abort()


async def connect(endpoint: SSHEndpoint, *, key: str) -> SSHTransport:
    """Connect to `endpoint`, with its host key pinned and its client key only; nothing of the user's SSH set-up is read.

    Raises TransportError `ssh_unknown_host`, `ssh_refused`, `ssh_unreachable`, `ssh_auth_failed`,
    `ssh_host_key_changed`, `ssh_timeout`, `ssh_bad_key`, `ssh_protocol_error`.
    """
    where = "The machine" if endpoint.unix_path else f"{endpoint.host}:{endpoint.port}"
    # Only the guest of the embedded machine listens on a Unix socket, and it takes signals.
    transport = SSHTransport(key, where, takes_signals=endpoint.unix_path is not None)
    transport.again = lambda: connect(endpoint, key=key)
    with map_ssh_errors(where):
        pinned = asyncssh.import_public_key(endpoint.host_key)
        options: dict[str, Any] = {
            "username": endpoint.username,
            # The tuple form: asyncssh cannot match a file's patterns against a Unix socket's address.
            "known_hosts": ([pinned], [], []),
            # The pinned key's kind first, but not alone: a server without it would hang up before we see its key.
            "server_host_key_algs": [alg.decode() for alg in pinned.sig_algorithms] + HOST_KEY_KINDS,
            "client_keys": [asyncssh.import_private_key(endpoint.client_key)]
            if endpoint.client_key
            else None,
            "client_factory": lambda: _Client(transport.link_lost),
            "config": None,
            "agent_path": None,
            "preferred_auth": "publickey,none" if endpoint.client_key else "none",
            "encryption_algs": CIPHERS,
            "keepalive_interval": KEEPALIVE_S,
            "keepalive_count_max": 2,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "login_timeout": CONNECT_TIMEOUT_S,
        }
        if endpoint.unix_path:
            options["sock"] = await connected_unix_socket(endpoint.unix_path, CONNECT_TIMEOUT_S)
        else:
            options.update(host=endpoint.host, port=endpoint.port)
        try:
            transport.bind(await asyncssh.connect(**options))
        except asyncssh.ConnectionLost as error:
            raise _error(
                f"{where} closed the connection before it was ready.",
                "Check that an SSH server answers there; it may be overloaded.",
                "ssh_unreachable",
                True,
            ) from error
    return transport
