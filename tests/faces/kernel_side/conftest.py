"""A Jupyter server in a process of its own, as a kernel or a terminal meets it."""

import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from jupyter_rmx.testing.server import JupyterServer


class ServerProcess(JupyterServer):
    """A running server with folders of its own; `data` may be another one's, to adopt its machines.

    `env` is the environment of its kernels.
    """

    def __init__(self, data=None, options=()):
        super().__init__(Path(tempfile.mkdtemp(prefix="rmxk-")), options=options, data_dir=data)
        self.start()
        assert self.connection
        self.runtime = self.folder / "runtime"
        self.file = self.runtime / f"rmx-{self.pid}.json"
        self.env = self.environment | {"JUPYTER_RMX_CONNECTION": str(self.file)}

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
        from jupyter_rmx.models import Workspace

        async def use(client):
            for machine in await client.list():
                end = client.detach if isinstance(machine, Workspace) else client.destroy
                await end(machine.name)

        self.call(use)

    def finish(self):
        """Destroy its machines and stop it, if it still runs; remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.destroy_all()
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server():
    """The server of most tests."""
    running = ServerProcess()
    yield running
    running.finish()


@pytest.fixture
def own_server():
    """A server that the test may kill; its machines are destroyed by another one."""
    running = ServerProcess()
    yield running
    if running.process.poll() is not None:
        ServerProcess(data=running.data_dir).finish()
    running.finish()


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
        running.finish()


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
