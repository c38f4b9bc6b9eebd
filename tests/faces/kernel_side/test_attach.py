"""`%vm attach` and `jupyter rmx attach` with a real OpenSSH server behind a real Jupyter server, and a real kernel."""

import contextlib
import json
import os
import pty
import queue
import signal
import subprocess
import sys
import time

import pytest

from tests.faces.kernel_side.test_cli import rmx
from tests.faces.kernel_side.test_magics_kernel import FAIL_SAFE_S, Kernel, assert_one_line
from tests.own_host import PASSPHRASE, OwnHost, files_with


@pytest.fixture(scope="module")
def host():
    running = OwnHost()
    yield running
    running.finish()


@pytest.fixture
def served(server):
    """The server; what the test attached is let go of."""
    before = {machine.name for machine in server.call(lambda client: client.workspaces())}
    yield server
    for workspace in server.call(lambda client: client.workspaces()):
        if workspace.name not in before:
            server.call(lambda client, name=workspace.name: client.detach(name))


def listed(text):
    """Names of the list."""
    return [line.split()[0] for line in text.splitlines()[1:]]


@pytest.fixture(scope="module")
def one_kernel(server, tmp_path_factory):
    running = Kernel(server.env, tmp_path_factory.mktemp("kernel"))
    yield running
    running.stop()


@pytest.fixture
def kernel(one_kernel, served):
    """A kernel that uses the server."""
    return one_kernel


def shown(kernel, sent):
    """The text of the result, and all messages of a cell, after its reply."""
    text, messages = "", []
    while True:
        message = kernel.client.get_iopub_msg(timeout=FAIL_SAFE_S)
        if message["parent_header"].get("msg_id") != sent:
            continue
        messages.append(message["content"])
        if message["msg_type"] in {"execute_result", "display_data"}:
            text += message["content"]["data"]["text/plain"]
        if message["content"].get("execution_state") == "idle":
            return text, json.dumps(messages)


def asked(kernel):
    """What the front end is asked for."""
    return kernel.client.get_stdin_msg(timeout=FAIL_SAFE_S)["content"]


def test_a_passphrase_is_asked_for_once_and_is_nowhere_afterwards(start_server, request, host, tmp_path):
    served = start_server()  # what it keeps is searched
    kernel = Kernel(served.env | {"IPYTHONDIR": str(tmp_path / "ipython")}, tmp_path)
    request.addfinalizer(kernel.stop)
    sent = kernel.send(f"%vm attach {host.line()}")
    question = asked(kernel)
    assert question["password"] is True and "locked" in question["prompt"]
    kernel.client.input("wrong-horse")
    assert asked(kernel)["password"] is True
    kernel.client.input(PASSPHRASE)
    reply = kernel.result(sent)
    assert reply["status"] == "ok", reply
    text, messages = shown(kernel, sent)
    assert text.splitlines()[0] == "gpu01: ready (gpu01 over SSH)"
    assert "%%vm" in text and PASSPHRASE not in messages and "wrong-horse" not in messages

    # It is the default machine, and nothing is asked again.
    sent = kernel.send("%%vm\necho there $RMX; echo to-stderr >&2")
    assert kernel.result(sent)["status"] == "ok"
    assert "there" in kernel.all_output(sent)
    for line in ("ls", "info gpu01"):
        sent = kernel.send(f"%vm {line}")
        assert kernel.result(sent)["status"] == "ok"
        text, messages = shown(kernel, sent)
        assert "ready" in text and "gpu01 over SSH" in text and PASSPHRASE not in messages
    sent = kernel.send("%xmode Verbose\n%vm detach gpu01\n%vm attach --debug " + host.line())
    assert asked(kernel)["password"] is True
    kernel.client.input(PASSPHRASE)
    assert kernel.result(sent)["status"] == "ok"

    assert kernel.result(kernel.send("%history -g -f all.txt"))["status"] == "ok"
    kernel.stop()
    served.stop()
    assert files_with(PASSPHRASE, served.folder, served.data_dir, tmp_path, host.folder) == []
    assert files_with("%vm attach", tmp_path / "ipython")  # the history was looked at


def test_wrong_answers_end_in_one_line_without_them(kernel, served, host, tmp_path):
    sent = kernel.send("%xmode Verbose\n%vm attach --debug " + host.line())
    times = 0
    while True:
        with contextlib.suppress(queue.Empty):
            assert kernel.client.get_stdin_msg(timeout=0.1)["content"]["password"] is True
            kernel.client.input("wrong-horse")
            times += 1
        with contextlib.suppress(queue.Empty):
            reply = kernel.client.get_shell_msg(timeout=0.1)
            if reply["parent_header"].get("msg_id") == sent:
                break
    reply = reply["content"]
    assert times > 1
    assert "Traceback" in json.dumps(reply["traceback"])  # what shows variables was looked at
    assert reply["status"] == "error"
    assert "wrong-horse" not in json.dumps(reply) + shown(kernel, sent)[1]


def test_ctrl_c_in_the_prompt_gives_up_and_the_kernel_goes_on(kernel, host):
    sent = kernel.send(f"%vm attach {host.line()}")
    asked(kernel)
    kernel.interrupt()
    reply = kernel.result(sent)
    assert reply["ename"] == "KeyboardInterrupt"
    assert_one_line(reply, "Attaching gpu01 was given up")
    sent = kernel.send("%vm ls")
    assert kernel.result(sent)["status"] == "ok"
    assert not {"gpu01", "box", "crate"} & set(listed(shown(kernel, sent)[0]))
    sent = kernel.send("%%vm\nls")
    assert_one_line(kernel.result(sent), "no default", "%vm use NAME")


def test_where_no_one_can_answer_the_error_names_what_helps(kernel, host):
    """As in nbconvert: the front end takes no input."""
    kernel.seen = ""
    sent = kernel.client.execute(f"%vm attach {host.line()}", allow_stdin=False)
    reply = kernel.result(sent)
    assert reply["ename"] == "TransportError"
    assert_one_line(reply, "nobody can answer here", "ssh-add")


TIDY = "trap 'sleep 0.5; echo tidied > {folder}/tidy; exit 3' INT; echo ready; while :; do sleep 0.1; done"


def test_a_workspace_is_a_machine_like_others(kernel, host):
    sent = kernel.send(f"%vm attach --name box {host.line('gpu02')}")
    assert kernel.result(sent)["status"] == "ok"
    assert shown(kernel, sent)[0].startswith("box: ready (gpu02 over SSH)")
    sent = kernel.send("%%vm --no-raise-error\n" + TIDY.format(folder=host.folder))
    kernel.until("ready")
    kernel.interrupt()
    reply = kernel.result(sent)
    assert (host.folder / "tidy").read_text() == "tidied\n"
    assert reply["ename"] == "KeyboardInterrupt"
    assert_one_line(reply, "SIGINT", "exit code 3")

    stubborn = "trap 'echo got INT' INT; trap 'echo got TERM' TERM; echo ready\nwhile :; do sleep 0.1; done"
    sent = kernel.send(f"%%vm\n{stubborn}")
    for text in ("ready", "got INT", "got TERM"):
        kernel.until(text)
        kernel.interrupt()
    assert_one_line(kernel.result(sent), "SIGKILL")

    sent = kernel.send("%vm rename box crate\n%vm exec --env A=b -- echo $A there\n%vm destroy crate")
    reply = kernel.result(sent)
    assert_one_line(reply, "%vm detach crate")
    assert "b there" in kernel.all_output(sent)
    sent = kernel.send("%vm detach crate")
    assert kernel.result(sent)["status"] == "ok"
    sent = kernel.send("%vm ls")
    assert kernel.result(sent)["status"] == "ok"
    assert not {"gpu01", "box", "crate"} & set(listed(shown(kernel, sent)[0]))


# The terminal becomes the controlling one of the new session: there Ctrl-C is a signal.
IN_TERMINAL = """import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])"""


class Terminal:
    """`jupyter rmx …`, or Python otherwise, in a terminal of its own; its stdout is a pipe."""

    def __init__(self, env, *words, module="jupyter_rmx.cli"):
        self.main, ours = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, sys.executable, *(["-m", module] if module else []), *words],
            env=env,
            stdin=ours,
            stderr=ours,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        os.close(ours)
        self.seen = b""

    def until(self, text):
        while text not in self.seen:
            self.seen += os.read(self.main, 4096)

    def type(self, text):
        os.write(self.main, text)

    def end(self):
        """Its exit code, stdout, and all that the terminal showed."""
        out, _ = self.process.communicate(timeout=FAIL_SAFE_S)
        with contextlib.suppress(OSError):  # Linux ends a terminal that nobody has open so
            while data := os.read(self.main, 4096):
                self.seen += data
        os.close(self.main)
        return self.process.returncode, out, self.seen.decode()


def test_a_terminal_asks_masked_and_answers_in_json(served, host):
    terminal = Terminal(served.env, "attach", "--json", *host.line().split())
    terminal.until(b"locked")
    terminal.until(b": ")
    time.sleep(0.1)
    terminal.type(PASSPHRASE.encode() + b"\n")
    code, out, seen = terminal.end()
    assert (code, json.loads(out)["name"]) == (0, "gpu01"), seen
    assert json.loads(out)["connection"]["status"] == "ready"
    assert PASSPHRASE not in seen + out
    code, out, _ = rmx(served.env, "exec", "gpu01", "--", "echo $0; exit 4")
    assert code == 4
    code, out, _ = rmx(served.env, "ls")
    (line,) = (line for line in out.splitlines() if line.startswith("gpu01"))
    assert line.split()[:5] == ["gpu01", "ready", "workspace", "gpu01", "over"]
    assert json.loads(rmx(served.env, "detach", "gpu01", "--json")[1]) == {"detached": "gpu01"}
    assert "gpu01" not in listed(rmx(served.env, "ls")[1])


def test_ctrl_c_at_the_prompt_of_a_terminal(served, host):
    terminal = Terminal(served.env, "attach", host.line())
    terminal.until(b"locked")
    terminal.type(b"\x03")
    code, out, seen = terminal.end()
    assert (code, out) == (128 + signal.SIGINT, "")
    assert "Attaching gpu01 was given up: it is not connected." in seen
    assert "Traceback" not in seen


def test_without_a_terminal_the_error_names_what_helps(served, host):
    code, out, err = rmx(served.env, "attach", *host.line().split())
    assert (code, out) == (1, "")
    assert "nobody can answer here" in err and "ssh-add" in err and len(err.splitlines()) == 1
    code, out, err = rmx(served.env, "attach", "--json", *host.line().split())
    assert (code, err, json.loads(out)["error"]) == (1, "", "ssh_needs_answer")


def test_attach_in_a_script_says_what_to_do_next(served, host):
    code, out, err = rmx(served.env, "attach", *host.line("gpu02").split())
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "gpu02: ready (gpu02 over SSH)",
        "Run a command there: jupyter rmx exec gpu02 -- uname -a",
        "Show a port of it: jupyter rmx open gpu02 8000",
        "Give it another name: jupyter rmx rename gpu02 NEW",
    ]
    assert rmx(served.env, "info", "gpu02")[1].splitlines()[0] == "gpu02: ready (gpu02 over SSH)"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["attach", "ssh"], "usage_bad_target"),
        (["attach", "ssh -Q"], "usage_bad_target"),
        (["attach", "me@"], "usage_bad_target"),
        (["attach", "--name", "A B", "h"], "usage_bad_name"),
        (["detach", "nope"], "vm_not_found"),
    ],
)
def test_bad_input_is_one_line(served, words, code):
    status, out, err = rmx(served.env, *words)
    assert status == (2 if code.startswith("usage") else 1) and out == ""
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    at = 1
    assert json.loads(rmx(served.env, *words[:at], "--json", *words[at:])[1])["error"] == code


def test_a_vm_is_attached_resumed_and_the_default_and_let_go_of(kernel, served, demo):
    for line in ("pause demo", "attach demo"):
        sent = kernel.send(f"%vm {line}")
        assert kernel.result(sent)["status"] == "ok"
        text, _ = shown(kernel, sent)
    assert text.splitlines()[0] == "demo: running (local)"
    sent = kernel.send("%vm exec -- hostname")
    assert kernel.result(sent)["status"] == "ok"
    assert kernel.all_output(sent) == "demo\n"
    sent = kernel.send("%vm detach demo")
    assert kernel.result(sent)["status"] == "ok"
    assert "demo" in listed(rmx(served.env, "ls")[1])  # a VM stays


def test_ports_and_files_of_a_workspace(kernel, host, tmp_path):
    (tmp_path / "f.txt").write_text("from here")
    sent = kernel.send(
        f"%vm attach --startup 'echo hi' {host.line('gpu02')}\n"
        f"%vm upload gpu02 {tmp_path}/f.txt --to {host.folder}\n"
        f"link = %vm open gpu02 {host.port}/x\nlink"
    )
    reply = kernel.result(sent)
    assert reply["status"] == "ok", reply
    assert shown(kernel, sent)[0].startswith(f"http://localhost:{host.port}/x of gpu02: ")
    assert (host.folder / "f.txt").read_text() == "from here"
    sent = kernel.send("%vm info gpu02")
    assert kernel.result(sent)["status"] == "ok"
    assert "its terminals run first: echo hi" in shown(kernel, sent)[0]


def test_machines_are_completed_over_the_real_service(ip, served, host, demo):
    from jupyter_rmx.magics.complete import candidates
    from jupyter_rmx.magics.session import Session

    assert ip.run_cell(f"%vm attach {host.line('gpu02')}").success
    session = Session()  # a kernel in which nothing was done yet
    offered, end = {}, time.monotonic() + FAIL_SAFE_S
    while (
        not {"demo", "gpu02"} <= set(offered) and time.monotonic() < end
    ):  # an answer may come after the first Tab
        offered = {item.text: item.type for item in candidates("%vm attach ", session) or ()}
    session.close()
    assert offered["demo"] == "VM, running" and offered["gpu02"] == "workspace, ready"


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source,
            "id": f"c{n}",
        }
        for n, source in enumerate(("%load_ext jupyter_rmx", "LINE"))
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_nbconvert_fails_with_the_error_that_names_what_helps(served, host, tmp_path):
    text = json.dumps(NOTEBOOK).replace("LINE", f"%vm attach {host.line()}")
    (tmp_path / "n.ipynb").write_text(text)
    convert = ["-m", "nbconvert", "--to", "notebook", "--execute", "--stdout", "n.ipynb"]
    done = subprocess.run(
        [sys.executable, *convert],
        cwd=tmp_path,
        env=served.env,
        capture_output=True,
        text=True,
        timeout=FAIL_SAFE_S,
    )
    assert done.returncode != 0
    (line,) = {line for line in done.stderr.splitlines() if line.startswith("TransportError: ")}
    assert "nobody can answer here" in line and "ssh-add" in line
    assert "gpu01" not in listed(rmx(served.env, "ls")[1])


IPYTHON = ["-m", "IPython", "--no-banner", "--colors=nocolor", "--ext=jupyter_rmx", "-c"]


@pytest.mark.parametrize("typed", [PASSPHRASE.encode() + b"\n", b"\x03"])
def test_ipython_in_a_terminal_asks_in_the_terminal(served, host, tmp_path, typed):
    env = served.env | {"IPYTHONDIR": str(tmp_path), "TERM": "dumb"}
    terminal = Terminal(
        env,
        *IPYTHON,
        f"x = get_ipython().run_line_magic('vm', 'attach {host.line()}'); print(x)",
        module=None,
    )
    terminal.until(b"locked: ")
    terminal.type(typed)
    _, out, seen = terminal.end()
    assert PASSPHRASE not in out + seen
    assert files_with(PASSPHRASE, tmp_path) == []
    if typed == b"\x03":
        assert "Attaching gpu01 was given up: it is not connected." in out + seen
        assert "Traceback" not in out + seen
    else:
        assert "gpu01: ready (gpu01 over SSH)" in out
