"""A real JupyterLab in a process of its own, a real Chromium, and machines of the embedded provider."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
SCREENSHOTS = HERE / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_S = 120.0  # fail-safes: ten times and more of what it takes
STEP_MS = 20_000
# `--disable-features` is here so that it replaces Playwright's own list, which turns off storage partitioning:
# without that, the tab's cross-site frame has no localStorage, as no real browser behaves.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=Translate,MediaRouter",
]


def pytest_collection_modifyitems(items):
    """Browser tests run last: Playwright's event loop stays in the main thread, where others make theirs."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(autouse=True)
def jp_asyncio_loop():
    """In place of pytest-jupyter's, which takes over, and closes, the loop that Playwright runs in this thread."""


@pytest.fixture(autouse=True)
def jp_server_cleanup():
    """In place of pytest-jupyter's: there is no Jupyter server in this process to clean up."""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail(f"No browser found (one of {', '.join(BROWSERS)}). On Debian: apt-get install chromium.")
    return {**browser_type_launch_args, "executable_path": found, "args": FLAGS}


class Lab:
    """A running JupyterLab: its page, its REST interface and its machines. Everything of it lies in one folder."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "notebooks"
        self.token = secrets.token_urlsafe(16)
        self._names = set()
        self._log = (folder / "lab.log").open("w+")
        shutil.copytree(NOTEBOOKS, self.root, ignore=shutil.ignore_patterns("out", ".ipynb_checkpoints"))
        self._write_settings()

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.origin = f"http://localhost:{self.port}"
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", "--ServerApp.root_dir=."]
        command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
        if os.geteuid() == 0:
            command.append("--allow-root")
        self.process = subprocess.Popen(
            command, cwd=self.root, env=self._environment(), stdout=self._log, stderr=subprocess.STDOUT
        )
        self._await_answer()

    def stop(self):
        """End the machines, then the server as a person would: SIGTERM."""
        try:
            if self.process.poll() is None:
                for vm in self.rest("GET", "vms")["vms"]:
                    self.rest("DELETE", f"vms/{vm['id']}")
        finally:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=START_S)
            finally:
                self.process.kill()
                self._log.close()

    def request(self, method, path, body=None, headers=None):
        """One request to Jupyter; the decoded JSON answer. `body` is bytes, or something to send as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", data=data, method=method)
        for name, value in {"Authorization": f"token {self.token}", **(headers or {})}.items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=START_S) as response:
            text = response.read()
            return json.loads(text) if text else None

    def rest(self, method, path, body=None, headers=None):
        return self.request(method, f"rmx/api/v1/{path}", body, headers)

    def create(self, name):
        """A machine with our app in its home; skips where a machine shares this computer's ports."""
        vm = self.rest("POST", "vms", {"name": name}, {"Idempotency-Key": secrets.token_hex(8)})
        if vm["details"]["shared_loopback"]:
            pytest.skip(f"no-kernel-feature: {vm['details']['notice']}")
        self.put(name, "machine_app.py", (HERE / "machine_app.py").read_bytes())

    def put(self, machine, path, data):
        self.rest("PUT", f"machines/{machine}/files/{path}", data)

    def run(self, machine, command):
        """Run a command there; its exit code, or an error envelope as an exception."""
        url = f"ws://127.0.0.1:{self.port}/rmx/api/v1/machines/{machine}/exec"
        with connect(url, additional_headers={"Authorization": f"token {self.token}"}, proxy=None) as link:
            link.send(json.dumps({"type": "start", "command": command}))
            for message in link:
                wire = json.loads(message) if isinstance(message, str) else {}
                if wire.get("type") == "error":
                    raise AssertionError(wire)
                if wire.get("type") == "exit":
                    return wire["code"]
        raise AssertionError("The command's exit was never told.")

    def serve_app(self, machine, port):
        """Start our app there; it goes on after the command that starts it."""
        python = "$(command -v python3 || command -v python)"
        start = f"setsid {python} machine_app.py {port} >app.log 2>&1 </dev/null &"
        assert self.run(machine, start) == 0

    def _environment(self):
        own = {
            "JUPYTER_TOKEN": self.token,
            "JUPYTER_RMX_DATA_DIR": self.folder / "rmx",
            "JUPYTER_RUNTIME_DIR": self.folder / "runtime",
            "JUPYTER_CONFIG_DIR": self.folder / "config",
            "JUPYTERLAB_SETTINGS_DIR": self.folder / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": self.folder / "workspaces",
            "IPYTHONDIR": self.folder / "ipython",
        }
        foreign = ("JUPYTER_", "JUPYTERLAB_", "JPY_")
        rest = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return rest | {name: str(value) for name, value in own.items()}

    def _write_settings(self):
        """No question about news in front of everything."""
        settings = self.folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        settings.parent.mkdir(parents=True)
        settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')

    def _await_answer(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.request("GET", "api/status")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        self._log.seek(0)
        pytest.fail(f"JupyterLab did not start:\n{self._log.read()[-4000:]}")


@pytest.fixture(scope="session")
def lab():
    """One server for all browser tests; its folder has a short name, since Unix sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="rmx-e2e-") as folder:
        server = Lab(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def lab_context(browser, lab):
    context = browser.new_context(viewport={"width": 1400, "height": 860}, color_scheme="null")
    context.set_default_timeout(STEP_MS)
    expect.set_options(timeout=STEP_MS)
    yield context
    context.close()


@pytest.fixture(scope="session")
def _page(lab, lab_context):
    page = lab_context.new_page()
    page.goto(f"{lab.origin}/lab?token={lab.token}&reset")
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("window.jupyterapp.restored")
    assert page.evaluate("window.jupyterapp.hasPlugin('jupyter-rmx:ports')"), (
        "The lab extension is not installed: run `make venv`, then build it."
    )
    return page


@pytest.fixture
def lab_page(_page):
    """JupyterLab with an empty main area. A test opens what it needs; loading it anew would take seconds each time."""
    yield _page
    _page.unroute_all()
    _page.evaluate("[...window.jupyterapp.shell.widgets('main')].forEach(widget => widget.dispose())")
    _page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")


@pytest.fixture
def shot(lab_page):
    """Write screenshots to look at, in both themes; git ignores their folder."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(name, themes=("Dark", "Light")):
        for theme in themes:
            full = f"JupyterLab {theme}"
            lab_page.evaluate(
                "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", full
            )
            lab_page.wait_for_selector(f"body[data-jp-theme-name='{full}']", state="attached")
            lab_page.wait_for_selector("#jupyterlab-splash", state="detached")
            lab_page.screenshot(path=SCREENSHOTS / f"{name}-{theme.lower()}.png", animations="disabled")

    return take


class _HostPage(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>THE HOST'S OWN SERVER</h1>")

    def log_message(self, *args):
        """Silent."""


@pytest.fixture
def host_server():
    """Starts servers on this computer's own 127.0.0.1 that must never be seen in a tab."""
    servers = []

    def serve(port=0):
        server = ThreadingHTTPServer(("127.0.0.1", port), _HostPage)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
