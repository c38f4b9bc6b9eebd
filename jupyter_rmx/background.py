"""A server for faces that find none: plain IPython and the CLI start `jupyter rmx serve` for the user.

It lives as long as someone uses it. Every user of it holds a shared lock on `rmx-<pid>.users` beside its connection
file; whoever lets go and then gets the lock alone is the last one, and ends it. A lock dies with its process, so a
killed user is no user. Should the last one be killed, the server ends itself after `IDLE_S` without a request
(Jupyter's own `shutdown_no_activity_timeout`); users beat more often than that.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_rmx.connection import Connection, find_connection, read_connection, runtime_dir
from jupyter_rmx.control.worker import process_is_alive, process_mark
from jupyter_rmx.errors import TransportError

if sys.platform != "win32":
    import fcntl

IDLE_S = 180
BEAT_S = 60.0
START_S = 60.0
"""Fail-safe: a server that has not said where it is by then is taken for broken."""
END_S = 15.0
_POLL_S = 0.05

STARTED = (
    "Started a server for your machines in the background (jupyter rmx serve); it ends with its last user."
)


class ServerUse:
    """The use of one server by this process. `lock` is None where the server is not one of the background."""

    def __init__(
        self,
        connection: Connection,
        lock: int | None = None,
        users: Path | None = None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.connection = connection
        self._process = process
        self._lock = lock
        self._users = users

    @property
    def needs_beats(self) -> bool:
        """True for a background server: it wants a request every `BEAT_S`."""
        return self._lock is not None

    def release(self) -> None:
        """Let go; the last user of a background server ends it and waits until it is gone. Repeatable."""
        lock, self._lock = self._lock, None
        if lock is None or self._users is None:
            return
        try:
            if _lock_alone(lock):
                _end(self.connection.pid, self._users)
        finally:
            os.close(lock)
            if self._process is not None:
                self._process.poll()  # it may have been our child: nothing of it stays


def use_server(announce: Callable[[str], None]) -> ServerUse:
    """The server of this user, started if there is none; then `announce` is told so, in one line.

    Raises TransportError `ssh_no_server` if it does not start.
    """
    found = _join()
    if found is not None:
        return found
    folder = runtime_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    gate = os.open(folder / "rmx-start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock_waiting(gate)  # of two that start at once, the second finds the first one's server
        found = _join()
        if found is not None:
            return found
        use = _start(folder)
    finally:
        os.close(gate)
    announce(STARTED)
    return use


def _join() -> ServerUse | None:
    connection = find_connection()
    if connection is None:
        return None
    users = runtime_dir() / f"rmx-{connection.pid}.users"
    try:
        lock = os.open(users, os.O_RDWR)
    except OSError:
        return ServerUse(connection)  # a Jupyter server, or `jupyter rmx serve` of the user's own
    if not _lock_shared(lock):
        os.close(lock)
        return None  # its last user is ending it
    return ServerUse(connection, lock, users)


def _start(folder: Path) -> ServerUse:
    log = folder / "rmx-serve.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_rmx.cli", "serve", *_serve_options()],
            # A token that Jupyter did not make itself is one that it does not write to its log.
            env={**os.environ, "JUPYTER_TOKEN": secrets.token_hex(24)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Its lock is there before its connection file can be found, so that no one takes it for a server of the user's own.
    users = folder / f"rmx-{process.pid}.users"
    lock = os.open(users, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(lock, process_mark(process.pid).encode())
    _lock_shared(lock)
    try:
        connection = _wait_for(process, folder / f"rmx-{process.pid}.json", log)
        return ServerUse(connection, lock, users, process)
    except BaseException:
        os.close(lock)
        _end(process.pid, users)
        raise


def _serve_options() -> list[str]:
    options = [f"--ServerApp.shutdown_no_activity_timeout={IDLE_S}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # who is root here already gains nothing by it
    return options


def _wait_for(process: subprocess.Popen[bytes], file: Path, log: Path) -> Connection:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        connection = read_connection(file)
        if connection is not None:
            return connection
        if process.poll() is not None:
            break
        time.sleep(_POLL_S)
    raise TransportError(
        "A server for your machines could not be started.",
        hint=f"Its log says why: {log}",
        code="ssh_no_server",
        retryable=True,
    )


def _end(pid: int, users: Path) -> None:
    """End the background server, if `pid` is still the process that `users` was made for."""
    import psutil

    try:
        if process_is_alive(users.read_text()):
            process = psutil.Process(pid)
            process.terminate()
            process.wait(END_S)
    except psutil.TimeoutExpired:
        process.kill()
    except (psutil.Error, OSError):
        pass  # it is gone already
    users.unlink(missing_ok=True)


# Windows has no such lock: there the starter alone ends the server, and other users may lose it.
if sys.platform != "win32":

    def _try(lock: int, how: int) -> bool:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _lock_shared(lock: int) -> bool:
        return _try(lock, fcntl.LOCK_SH)

    def _lock_alone(lock: int) -> bool:
        return _try(lock, fcntl.LOCK_EX)

    def _lock_waiting(lock: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX)

else:

    def _lock_shared(_lock: int) -> bool:
        return True

    def _lock_alone(_lock: int) -> bool:
        return True

    def _lock_waiting(_lock: int) -> None:
        pass
