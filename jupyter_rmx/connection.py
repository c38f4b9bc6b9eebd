"""How kernels and the CLI find the process that owns the machines (design.md § 1).

The server extension writes a *connection file* `rmx-<pid>.json` of mode 0600 into the Jupyter runtime directory and
names it in `JUPYTER_RMX_CONNECTION`, which its kernels inherit. The file's `key` opens the routes of this project and
nothing else of Jupyter, so that it also works where Jupyter has a password, or a Hub, and no token.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_rmx.errors import TransportError

VARIABLE = "JUPYTER_RMX_CONNECTION"
_PATTERN = "rmx-*.json"


@dataclass(frozen=True)
class Connection:
    """Where the service listens and what proves that we may ask.

    `url` ends with Jupyter's base URL and "/". `cafile` is the certificate of a Jupyter server with TLS, if any.
    `key` is a secret.
    """

    url: str
    key: str = field(repr=False)
    pid: int
    version: str
    cafile: str | None = None

    def to_json(self) -> str:
        """The connection file's text."""
        return json.dumps(
            {
                "url": self.url,
                "key": self.key,
                "pid": self.pid,
                "version": self.version,
                "cafile": self.cafile,
            }
        )


def runtime_dir() -> Path:
    """Jupyter's runtime directory of this user."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def write_connection(connection: Connection, folder: Path | None = None) -> Path:
    """Write the connection file (mode 0600 from its first byte) and return its path."""
    folder = folder or runtime_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"rmx-{connection.pid}.json"
    draft = folder / f".rmx-{connection.pid}.json.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(connection.to_json())
    draft.replace(path)
    return path


def read_connection(path: Path) -> Connection | None:
    """The connection in a file, or None if the file is not there, not ours or not readable."""
    try:
        wire = json.loads(path.read_text(encoding="utf-8"))
        return Connection(
            url=str(wire["url"]),
            key=str(wire["key"]),
            pid=int(wire["pid"]),
            version=str(wire["version"]),
            cafile=wire.get("cafile"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_alive(connection: Connection) -> bool:
    """True while the process that wrote the file runs."""
    import psutil

    return psutil.pid_exists(connection.pid)


def find_connection(folder: Path | None = None) -> Connection | None:
    """The service of this user: the inherited one if it lives, else the newest live connection file, else None."""
    named = os.environ.get(VARIABLE)
    if named:
        connection = read_connection(Path(named))
        if connection is not None and is_alive(connection):
            return connection
    return _newest_live(folder or runtime_dir())


def _newest_live(folder: Path) -> Connection | None:
    def age(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    for path in sorted(folder.glob(_PATTERN), key=age, reverse=True):
        connection = read_connection(path)
        if connection is not None and is_alive(connection):
            return connection
    return None


def no_server() -> TransportError:
    """The error of a face that finds no service and may not start one."""
    return TransportError(
        "No Jupyter server with jupyter_rmx runs here.",
        hint="Start JupyterLab, or run: jupyter rmx serve",
        code="ssh_no_server",
        retryable=True,
    )
