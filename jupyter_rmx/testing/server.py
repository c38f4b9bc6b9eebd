"""A Jupyter server in a process of its own, private in everything, for tests that need one to kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from jupyter_rmx.connection import Connection, read_connection

START_S = 60.0
"""Fail-safe for the start, ten times and more what it takes."""


class JupyterServer:
    """`with JupyterServer(folder) as server:`; machines outlive it, unless `folder`'s tests end them.

    Runtime directory, configuration and `JUPYTER_RMX_DATA_DIR` lie in `folder`, and a second server in the same
    folder, or with the same `data_dir`, sees the same machines. `options` are words for its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        options: Sequence[str] = (),
        extension: bool = True,
        data_dir: Path | None = None,
        token: str = "for-tests-only",  # noqa: S107 - a throw-away server on loopback
    ) -> None:
        self.folder = folder
        self.token = token
        self.data_dir = data_dir or folder / "data"
        self.environment = os.environ | {
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RMX_DATA_DIR": str(self.data_dir),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        self.environment.pop("JUPYTER_RMX_CONNECTION", None)
        extensions = {
            "jupyter_rmx": extension,
            "jupyterlab": False,
            "jupyter_lsp": False,
            "notebook_shim": False,
        }
        self._command = [
            *(
                sys.executable,
                "-m",
                "jupyter_server",
                "--no-browser",
                "--ServerApp.port=0",
                "--ServerApp.ip=127.0.0.1",
            ),
            *("--ServerApp.allow_root=True", f"--IdentityProvider.token={self.token}"),
            f"--ServerApp.root_dir={folder}",
            f"--ServerApp.jpserver_extensions={extensions}",
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> JupyterServer:
        """Start it; returns as soon as its process runs."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def connection(self) -> Connection:
        """Its connection, as soon as it listens; RuntimeError with its log if it does not."""
        file = self.folder / "runtime" / f"rmx-{self.pid}.json"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            connection = read_connection(file)
            if connection is not None:
                return connection
            assert self.process is not None
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(self.log())

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "server.log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: it can tidy nothing up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def __enter__(self) -> JupyterServer:  # noqa: PYI034 - typing.Self is not in Python 3.10
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
