"""A Jupyter server in a process of its own, as a kernel or a terminal meets it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

START_S = 100.0


class ServerProcess:
    """`jupyter server` with private folders; `data` may be another one's, to adopt its machines."""

    def __init__(self, data=None, options=()):
        self.folder = Path(tempfile.mkdtemp(prefix="rmxk-"))
        self.data = data or self.folder / "rmx"
        self.runtime = self.folder / "runtime"
        self.env = {
            **os.environ,
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_RMX_DATA_DIR": str(self.data),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_TOKEN": "test",
        }
        self.env.pop("JUPYTER_RMX_CONNECTION", None)
        self.log = self.folder / "log"
        command = [
            sys.executable,
            "-m",
            "jupyter_server",
            "--no-browser",
            "--ServerApp.port=0",
            "--allow-root",
        ]
        command += [
            f"--ServerApp.root_dir={self.folder}",
            "--ServerApp.jpserver_extensions={'jupyter_rmx':True}",
        ]
        command += options
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.file = self.runtime / f"rmx-{self.process.pid}.json"
        self.env["JUPYTER_RMX_CONNECTION"] = str(self.file)
        deadline = time.monotonic() + START_S
        while not self.file.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    @property
    def connection(self):
        from jupyter_rmx.connection import read_connection

        return read_connection(self.file)

    def call(self, use):
        """`use(client)` on a loop of its own."""
        import asyncio
        import threading

        from jupyter_rmx.client import HttpRemoteMachines

        result = {}

        async def work():
            client = HttpRemoteMachines(self.connection)
            try:
                return await use(client)
            finally:
                await client.aclose()

        def run():
            try:
                result["value"] = asyncio.run(work())
            except BaseException as error:
                result["error"] = error

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if "error" in result:
            raise result["error"]
        return result["value"]

    def sh(self, command, machine="demo"):
        """A command's stdout there."""
        from jupyter_rmx.models import ExecSpec, Output

        async def use(client):
            session = await client.exec(machine, ExecSpec(command))
            try:
                return b"".join(
                    [e.data async for e in session if isinstance(e, Output) and e.stream == "stdout"]
                )
            finally:
                await session.aclose()

        return self.call(use).decode()

    def destroy_all(self):
        async def use(client):
            for vm in await client.list():
                await client.destroy(vm.id)

        self.call(use)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.destroy_all()
            self.process.terminate()
            self.process.wait(START_S)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server():
    """The server of most tests."""
    running = ServerProcess()
    yield running
    running.stop()


@pytest.fixture
def own_server():
    """A server that the test may kill; its machines are destroyed by another one."""
    running = ServerProcess()
    yield running
    if running.process.poll() is not None:
        ServerProcess(data=running.data).stop()
    running.stop()


@pytest.fixture(scope="session")
def demo(server):
    """A machine named demo."""
    from jupyter_rmx.models import VMSpec

    return server.call(lambda client: client.create(VMSpec("demo"), key="demo"))


@pytest.fixture
def use_server(server, monkeypatch):
    """This process's faces use the server."""
    monkeypatch.setenv("JUPYTER_RMX_CONNECTION", str(server.file))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(server.runtime))
    return server


@pytest.fixture
def start_server():
    """Start another `ServerProcess`; its machines and it are gone afterwards."""
    started = []

    def start(**options):
        started.append(ServerProcess(**options))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def ip(use_server, tmp_path, monkeypatch):
    """A real IPython shell with the extension loaded."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    shell.run_line_magic("load_ext", "jupyter_rmx")
    yield shell
    shell.run_line_magic("unload_ext", "jupyter_rmx")
    InteractiveShell.clear_instance()


@pytest.fixture
def bundle(ip):
    """`bundle(cell)`: the mime bundle of the cell's result."""

    def of(cell):
        result = ip.run_cell(cell)
        assert result.success, result.error_in_exec
        return ip.display_formatter.format(result.result)[0]

    return of
