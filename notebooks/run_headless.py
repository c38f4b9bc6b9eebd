"""Run a notebook through a real Jupyter server and kernel, without a browser, and look at what it opened.

    python run_headless.py 01_quickstart.ipynb --output out

Everything it makes, machines too, is in a private folder and gone at the end, except the executed notebook. The exit
code is 0 only if every cell ran and the port that the notebook opened shows the machine's own page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from websockets.sync.client import connect

MACHINE, PORT = "demo", 8000
START_S = 120.0
CELL_S = 300.0
STOP_S = 30.0


class DemoError(Exception):
    """Something did not work; the text says what."""


class Server:
    """A Jupyter server of our own, with its own token and folders."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "server.log"
        self.token = secrets.token_hex(24)
        self.runtime = folder / "runtime"
        work = folder / "work"
        environment = {
            **os.environ,
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RMX_DATA_DIR": str(folder / "rmx"),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_TOKEN": self.token,
        }
        environment.pop("JUPYTER_RMX_CONNECTION", None)
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += ["--ServerApp.port=0", f"--ServerApp.root_dir={work}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.port = 0

    def wait_until_up(self) -> httpx.Client:
        """A client of the running server."""
        found = self.runtime / f"jpserver-{self.process.pid}.json"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, ValueError, httpx.HTTPError):
                self.port = int(json.loads(found.read_text())["port"])
                client = httpx.Client(
                    base_url=f"http://127.0.0.1:{self.port}",
                    headers={"Authorization": f"token {self.token}"},
                    timeout=60,
                    trust_env=False,
                )
                client.get("/api").raise_for_status()
                return client
            time.sleep(0.05)
        raise DemoError(f"The Jupyter server did not start:\n{self.last_lines()}")

    def last_lines(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Ask it to stop and wait."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DemoError(f"The Jupyter server did not stop by itself:\n{self.last_lines()}") from None


class Kernel:
    """A notebook session's kernel, spoken to over its WebSocket."""

    def __init__(self, client: httpx.Client, server: Server, notebook: str, kernel: str) -> None:
        self._stack = contextlib.ExitStack()
        body = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": kernel}}
        answer = client.post("/api/sessions", json=body)
        if answer.is_error:
            raise DemoError(f"The kernel did not start: {answer.text[:500]}")
        kernel_id = answer.json()["kernel"]["id"]
        self._session = uuid.uuid4().hex
        channels = connect(
            f"ws://127.0.0.1:{server.port}/api/kernels/{kernel_id}/channels?session_id={self._session}",
            additional_headers={"Authorization": f"token {server.token}"},
            open_timeout=60,
            max_size=None,
            proxy=None,
        )
        self._socket = self._stack.enter_context(channels)

    def run(self, source: str) -> tuple[list[dict], int | None, dict | None]:
        """Run a cell: its outputs, its number, and its error output if it failed."""
        sent = uuid.uuid4().hex
        header = {
            "msg_id": sent,
            "msg_type": "execute_request",
            "session": self._session,
            "username": "",
            "version": "5.3",
        }
        content = {"code": source, "silent": False, "store_history": True, "user_expressions": {}}
        content.update(allow_stdin=False, stop_on_error=True)
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
        }
        self._socket.send(json.dumps({**message, "buffers": []}))
        outputs: list[dict] = []
        count, failed, idle, replied = None, None, False, False
        deadline = time.monotonic() + CELL_S
        while not (idle and replied):
            heard = json.loads(self._socket.recv(timeout=max(0.0, deadline - time.monotonic())))
            if heard["parent_header"].get("msg_id") != sent:
                continue
            kind, told = heard["header"]["msg_type"], heard["content"]
            if kind == "status":
                idle = idle or told["execution_state"] == "idle"
            elif kind == "execute_reply":
                replied, count = True, told.get("execution_count")
                if told["status"] != "ok":
                    failed = {"ename": told.get("ename", told["status"]), "evalue": told.get("evalue", "")}
            elif kind in {"stream", "display_data", "execute_result", "error"}:
                add_output(outputs, kind, told)
        return outputs, count, failed

    def close(self) -> None:
        """Let go of the socket; the kernel ends with its server."""
        self._stack.close()


def add_output(outputs: list[dict], kind: str, told: dict) -> None:
    """One message as a notebook output (nbformat 4.5); pieces of one stream are joined."""
    if kind == "stream" and outputs and outputs[-1].get("name") == told["name"]:
        outputs[-1]["text"] += told["text"]
    elif kind == "stream":
        outputs.append({"output_type": "stream", "name": told["name"], "text": told["text"]})
    elif kind == "error":
        outputs.append(
            {"output_type": "error", **{key: told[key] for key in ("ename", "evalue", "traceback")}}
        )
    else:
        output = {"output_type": kind, "data": told["data"], "metadata": told["metadata"]}
        if kind == "execute_result":
            output["execution_count"] = told["execution_count"]
        outputs.append(output)


def title(source: str) -> str:
    """A cell's first line, of a cell magic the one below it too; not too long."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    text = " │ ".join(lines[:2] if source.startswith("%%") else lines[:1])
    return text if len(text) <= 70 else f"{text[:69]}…"


@contextlib.contextmanager
def step(name: str):
    """Say how one step went and how long it took."""
    begin = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"  FAILED  {time.monotonic() - begin:6.2f} s  {name}", flush=True)
        raise
    print(f"  ok      {time.monotonic() - begin:6.2f} s  {name}", flush=True)


def run_cells(notebook: dict, kernel: Kernel) -> None:
    """Run all code cells in order; stops at the first that fails."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not source.strip():
            continue
        with step(title(source)):
            cell["outputs"], cell["execution_count"], failed = kernel.run(source)
            if failed is not None:
                shown = "".join(out["text"] for out in cell["outputs"] if out["output_type"] == "stream")
                raise DemoError(f"{shown[-2000:]}{failed['ename']}: {failed['evalue']}")


def alias_session(client: httpx.Client) -> tuple[str, str]:
    """Follow the link of the notebook to the alias: its host and the cookie that it gives."""
    link = client.get(f"/rmx/open/{MACHINE}/{PORT}/")
    if link.status_code != 302:
        raise DemoError(f"The link to port {PORT} answered {link.status_code}: {link.text[:300]}")
    claim = urlsplit(link.headers["Location"])
    # Python does not resolve *.localhost; a browser does. So: our address, the alias as Host, no token.
    answer = httpx.get(
        f"http://127.0.0.1:{claim.port}{claim.path}?{claim.query}",
        headers={"Host": claim.netloc},
        trust_env=False,
    )
    cookies = [value.split(";", 1)[0] for value in answer.headers.get_list("set-cookie")]
    if answer.is_error or not cookies:
        raise DemoError(f"The alias did not take its ticket: {answer.status_code} {answer.text[:300]}")
    return claim.netloc, "; ".join(cookies)


def check_page(client: httpx.Client) -> None:
    """The port shows the machine's page, and its WebSocket answers."""
    host, cookie = alias_session(client)
    address = ("127.0.0.1", urlsplit(f"//{host}").port or 80)
    headers = {"Host": host, "Cookie": cookie}
    page = httpx.get(f"http://{address[0]}:{address[1]}/", headers=headers, timeout=30, trust_env=False)
    if page.status_code != 200 or f'<span id="host">{MACHINE}</span>' not in page.text:
        raise DemoError(f"Port {PORT} does not show the machine's page: {page.status_code} {page.text[:300]}")
    with connect(
        f"ws://{host}/echo",
        sock=socket.create_connection(address, 30),
        additional_headers={"Cookie": cookie},
        origin=f"http://{host}",
        proxy=None,
    ) as echo:
        echo.send("hello")
        heard = echo.recv(timeout=30)
    if heard != f"{MACHINE} heard: hello":
        raise DemoError(f"The WebSocket answered {heard!r}.")


def destroy_all(client: httpx.Client) -> None:
    """End the machines that the notebook made."""
    for vm in client.get("/rmx/api/v1/vms").raise_for_status().json()["vms"]:
        client.delete(f"/rmx/api/v1/vms/{vm['id']}").raise_for_status()


def run(source: Path, output: Path, folder: Path) -> None:
    """All steps; raises DemoError or an httpx or websockets error at the first that does not work."""
    notebook = json.loads(source.read_text(encoding="utf-8"))
    shutil.copytree(source.parent, folder / "work", ignore=shutil.ignore_patterns("out", "__pycache__", ".*"))
    with contextlib.ExitStack() as stack:
        with step("start a Jupyter server"):
            server = Server(folder)
            stack.callback(server.stop)
            client = server.wait_until_up()
            stack.callback(client.close)
        stack.callback(destroy_all, client)
        with step("start a kernel"):
            kernel = Kernel(client, server, source.name, notebook["metadata"]["kernelspec"]["name"])
            stack.callback(kernel.close)
        try:
            run_cells(notebook, kernel)
        finally:
            output.mkdir(parents=True, exist_ok=True)
            text = json.dumps(notebook, indent=1, ensure_ascii=False)
            (output / source.name).write_text(f"{text}\n", encoding="utf-8")
        with step(f"port {PORT} of {MACHINE} shows its page, and its WebSocket answers"):
            check_page(client)
        with step("destroy the machine, stop the server"):
            stack.close()


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out"), help="where the executed notebook goes")
    options = parser.parse_args()
    # A stop from outside ends what was started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    print(f"{options.notebook}:")
    folder = Path(tempfile.mkdtemp(prefix="rmx-demo-"))
    try:
        run(options.notebook.resolve(), options.output, folder)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - any failure is told in one place, and fails the run
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"All of it took {time.monotonic() - begin:.1f} s. With its outputs: {options.output / options.notebook.name}"
    )
    print("To see it live: make lab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
