"""The magics in a real kernel: interrupts, a server that dies, Run all."""

import json
import os
import queue
import shutil
import signal
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

FAIL_SAFE_S = 100
NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


class Kernel:
    """A kernel of ours; `run` sends a cell, `until` waits for text in its output."""

    def __init__(self, env, cwd):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=env, cwd=str(cwd))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=FAIL_SAFE_S)
        self.seen = ""
        assert self.result(self.send("%load_ext jupyter_rmx"))["status"] == "ok"

    def send(self, cell):
        self.seen = ""
        return self.client.execute(cell)

    def until(self, text):
        while text not in self.seen:
            self.seen += self._output(self.client.get_iopub_msg(timeout=FAIL_SAFE_S))

    def result(self, sent):
        """The reply to a cell."""
        while True:
            reply = self.client.get_shell_msg(timeout=FAIL_SAFE_S)
            if reply["parent_header"].get("msg_id") == sent:
                return reply["content"]

    def all_output(self, sent):
        """The rest of a cell's output, after its reply."""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=FAIL_SAFE_S)
            except queue.Empty:
                raise AssertionError(self.seen) from None
            self.seen += self._output(message)
            if (
                message["msg_type"] == "status"
                and message["content"]["execution_state"] == "idle"
                and message["parent_header"].get("msg_id") == sent
            ):
                return self.seen

    @staticmethod
    def _output(message):
        return message["content"].get("text", "") if message["msg_type"] == "stream" else ""

    def interrupt(self):
        self.manager.interrupt_kernel()

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def start_kernel(tmp_path):
    started = []

    def start(env):
        started.append(Kernel(env, tmp_path))
        return started[-1]

    yield start
    for kernel in started:
        kernel.stop()


@pytest.fixture(scope="module")
def kernel(server, demo, tmp_path_factory):
    running = Kernel(server.env, tmp_path_factory.mktemp("kernel"))
    yield running
    running.stop()


def assert_one_line(reply, *says):
    assert reply["status"] == "error"
    assert len(reply["traceback"]) == 1
    assert "\n" not in reply["traceback"][0]
    for text in says:
        assert text in reply["traceback"][0]


# The loop is the shell's own child, so that there is a group to signal; what it writes at the end proves the order.
TIDY = """trap 'sleep 1; echo tidied > tidy; exit 3' INT
rm -f tidy; echo ready
while :; do sleep 0.1; done"""


def test_an_interrupt_frees_the_kernel_once_the_command_is_gone(kernel, server):
    sent = kernel.send(f"%%vm demo\n{TIDY}")
    kernel.until("ready")
    kernel.interrupt()
    reply = kernel.result(sent)
    assert server.sh("cat tidy") == "tidied\n"
    assert reply["ename"] == "KeyboardInterrupt"
    assert_one_line(reply, "SIGINT", "exit code 3")


def test_an_interrupt_reaches_grandchildren(kernel, server):
    sent = kernel.send("%%vm demo\nsh -c 'sh -c \"echo ready; sleep 987654\"; true'; true")
    kernel.until("ready")
    kernel.interrupt()
    assert kernel.result(sent)["ename"] == "KeyboardInterrupt"
    assert (
        server.sh("grep -l -z 98765[4] /proc/[0-9]*/cmdline 2>/dev/null | grep -v self || echo none")
        == "none\n"
    )


def test_a_stubborn_command_gets_harsher_signals(kernel):
    sent = kernel.send(
        "%%vm demo\ntrap 'echo got INT' INT; trap 'echo got TERM' TERM; echo ready\nwhile :; do sleep 0.1; done"
    )
    kernel.until("ready")
    kernel.interrupt()
    kernel.until("got INT")
    kernel.interrupt()
    kernel.until("got TERM")
    kernel.interrupt()
    reply = kernel.result(sent)
    assert reply["ename"] == "KeyboardInterrupt"
    assert_one_line(reply, "SIGKILL", "signal KILL")


def test_python_there_sees_a_keyboard_interrupt(kernel):
    body = "import time\nprint('ready')\ntry:\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught it')\n"
    sent = kernel.send(f"%%vm demo --python\n{body}")
    kernel.until("ready")
    kernel.interrupt()
    assert kernel.result(sent)["ename"] == "KeyboardInterrupt"
    assert "caught it" in kernel.all_output(sent)


def test_an_interrupt_in_a_flood_ends_it(kernel):
    sent = kernel.send("%vm exec demo -- yes 0123456789abcdef")
    kernel.until("0123456789abcdef")
    kernel.interrupt()
    assert_one_line(kernel.result(sent), "SIGINT")


def test_run_all_stops_at_a_command_that_fails(kernel):
    first = kernel.send("%%vm demo\nexit 3")
    second = kernel.client.execute("ran = True")
    assert kernel.result(first)["ename"] == "RemoteCommandError"
    assert kernel.result(second)["status"] == "aborted"


def test_the_kernel_works_on_after_interrupts(kernel):
    sent = kernel.send("%vm exec demo -- hostname")
    assert kernel.result(sent)["status"] == "ok"
    assert "demo" in kernel.all_output(sent)


def test_the_quickstart_runs_twice_in_a_row(server, demo, tmp_path, start_kernel):
    """Neither a failure nor a second machine nor a second app."""
    for name in ("01_quickstart.ipynb", "app.py"):
        shutil.copy(NOTEBOOKS / name, tmp_path)
    notebook = json.loads((tmp_path / "01_quickstart.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kernel = start_kernel(server.env)
    for _ in range(2):
        for cell in cells:
            reply = kernel.result(kernel.send(cell))
            assert reply["status"] == "ok", reply
    machines = server.call(lambda client: client.list())
    assert [vm.id for vm in machines if vm.name == "demo"] == [demo.id]
    assert server.sh("grep -l -z ^app[.]py /proc/[0-9]*/cmdline | wc -l") == "1\n"


def test_a_server_that_dies_while_a_cell_streams_is_one_line(own_server, start_kernel):
    kernel = start_kernel(own_server.env)
    sent = kernel.send("%vm create demo")
    assert kernel.result(sent)["status"] == "ok"
    sent = kernel.send("%%vm demo\necho ready; sleep 1000")
    kernel.until("ready")
    own_server.process.kill()
    own_server.process.wait()
    assert_one_line(
        kernel.result(sent),
        "TransportError: The connection to Jupyter's server was lost while the command ran on demo.",
        "may still be running there",
    )


def test_a_server_that_hangs_does_not_hold_the_kernel(start_server, start_kernel):
    server = start_server()
    kernel = start_kernel(server.env)
    assert kernel.result(kernel.send("%vm create demo"))["status"] == "ok"
    sent = kernel.send("%%vm demo\necho ready; sleep 1000")
    kernel.until("ready")
    os.kill(server.process.pid, signal.SIGSTOP)
    kernel.interrupt()
    assert_one_line(kernel.result(sent), "TransportError", "does not answer", "may still be running there")
