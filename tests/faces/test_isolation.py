"""The machine's port, not the computer's: the same port number serves two things, in two network namespaces.

curl, a real Jupyter server, a real embedded machine, and `http.server` on both sides.
"""

import asyncio
import os
import re
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.models import ExecSpec, Exit, VMSpec
from jupyter_rmx.testing.server import JupyterServer

WAIT_S = 60


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def host_port(tmp_path):
    """A port of the computer itself, where a server says so."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "index.html").write_text("I am the computer")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def curl(*words):
    done = subprocess.run(
        ["curl", "-sS", "--max-time", str(WAIT_S), *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "jupyter"
    folder.mkdir()
    with JupyterServer(folder) as running:
        yield running


async def test_the_machine_s_port_is_shown_and_not_the_computer_s(server, host_port, tmp_path):
    machines = HttpRemoteMachines(server.connection)
    vm = await machines.create(VMSpec("demo"), key="k")
    try:
        if vm.details["shared_loopback"]:
            pytest.skip("no-kernel-feature: no network namespaces here")
        front = server.connection.url.replace("127.0.0.1", "localhost").rstrip("/")
        link = await machines.open_port("demo", host_port, origin=front)
        # curl keeps no Secure cookie of a plain http name below localhost, as browsers do: it is carried by hand.
        head = curl("--dump-header", "-", link.open_url)
        cookie = re.search(r"(?im)^set-cookie: ([^;]+)", head)[1]
        assert "HttpOnly; Secure; SameSite=None; Partitioned" in head
        page = (
            "--cookie",
            cookie,
            "--header",
            "Sec-Fetch-Mode: navigate",
            "--header",
            "Sec-Fetch-Dest: iframe",
        )
        # Nothing listens in the machine, though it does on the computer: the page waits, the computer is not shown.
        assert f"Nothing listens on port {host_port} of demo" in curl(*page, link.url)
        script = (
            f"mkdir -p www; echo -n 'I am the machine' > www/index.html; readlink /proc/self/ns/net;"
            f" nohup python3 -m http.server {host_port} --bind 127.0.0.1 --directory www >log 2>&1 &"
            f" for i in $(seq 600); do curl -s -o /dev/null 127.0.0.1:{host_port} && break; sleep 0.1; done"
        )
        session = await machines.exec("demo", ExecSpec(script))
        events = [event async for event in session]
        assert events[-1] == Exit(0)
        assert events[0].data.decode().strip() != os.readlink("/proc/self/ns/net")
        assert await asyncio.to_thread(curl, "--cookie", cookie, link.url) == "I am the machine"
        assert await asyncio.to_thread(curl, f"http://127.0.0.1:{host_port}/") == "I am the computer"
        assert curl(link.url).find("I am") == -1, "a stranger without the cookie sees neither"
    finally:
        await machines.destroy("demo")
        await machines.aclose()
