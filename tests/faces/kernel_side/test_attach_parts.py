"""`%vm attach` and its questions over a double of the service; the real thing is in test_attach.py."""

import asyncio
import getpass
import io
import threading
import traceback
from datetime import datetime, timezone

import pytest
from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell

from jupyter_rmx.asking import ask, clean, introduction, prompt_line
from jupyter_rmx.errors import TransportError, UsageError
from jupyter_rmx.magics.complete import candidates
from jupyter_rmx.magics.names import Remembered
from jupyter_rmx.magics.session import Session
from jupyter_rmx.magics.vm import VMMagics
from jupyter_rmx.models import (
    VM,
    Attached,
    ConnectionState,
    Exit,
    Prompt,
    Question,
    SSHHost,
    SSHTarget,
    Workspace,
)

NOW = datetime(2030, 1, 2, tzinfo=timezone.utc)
SECRET = "hunter2-" + "x" * 4


def workspace(name="gpu01", status="ready"):
    return Workspace("ws_1", name, "me", SSHTarget("me@gpu01"), NOW, None, ConnectionState(status))


def question(number, *prompts, title="me@gpu01 asks", instructions=""):
    return Question(f"q{number}", "gpu01", title, instructions, prompts)


class Ran:
    async def __aiter__(self):
        yield Exit(code=0)

    async def aclose(self):
        pass


class Double:
    """Answers as the service does: `questions` one after another, or an error in place of one."""

    def __init__(self, *questions):
        self.questions = list(questions)
        self.calls = []
        self.answers = []
        self.ran_on = []

    def _next(self, status="ready"):
        step = self.questions.pop(0) if self.questions else None
        if isinstance(step, Exception):
            raise step
        return Attached(workspace(status="connecting" if step else status), step)

    async def attach(self, target, *, name=None, startup=None, force_ssh=False):
        self.calls.append((target, name, startup, force_ssh))
        return self._next()

    async def answer(self, question_id, answers):
        body = (
            answers if answers is None else list(answers)
        )  # as the client has it: a verbose traceback shows it
        self.answers.append((question_id, body))
        if answers is None:
            return Attached(workspace(status="idle"))
        return self._next()

    async def get(self, machine):
        return workspace(machine)

    async def rename(self, machine, new):
        return workspace(new)

    async def detach(self, machine):
        pass

    async def destroy(self, machine):
        pass

    async def list(self):
        return [workspace()]

    async def exec(self, machine, spec):
        self.ran_on.append(machine)
        return Ran()


@pytest.fixture
def magic(monkeypatch):
    """`magic(double)`: `%vm` and `%%vm` over it, as in a kernel."""

    def of(double, kernel=True):
        session = Session()
        monkeypatch.setattr(session, "service", lambda: double)
        monkeypatch.setattr(session, "service_if_there", lambda: double)
        shell = InteractiveShell.instance()
        shell.kernel = object() if kernel else None
        magics = VMMagics(shell, session)
        magics.session = session
        return magics

    yield of
    InteractiveShell.clear_instance()


@pytest.fixture
def types(monkeypatch):
    """`types("a", "b")`: somebody types these; a class of exception happens instead. Gives what was asked."""
    asked = []

    def typed(*answers):
        left = list(answers)

        def one(hidden):
            def read(prompt=""):
                asked.append((prompt, hidden))
                answer = left.pop(0)
                if isinstance(answer, type):
                    raise answer
                return answer

            return read

        monkeypatch.setattr(getpass, "getpass", one(True))
        monkeypatch.setattr("builtins.input", one(False))
        return asked

    return typed


def test_what_was_pasted_is_given_on_as_it_is(magic):
    double = Double()
    shown = magic(double).vm("attach --name box --startup 'tmux new' --ssh ssh -p 2200 -J b me@gpu01")
    assert double.calls == [("ssh -p 2200 -J b me@gpu01", "box", "tmux new", True)]
    assert shown.text().splitlines() == [
        "gpu01: ready (me@gpu01 over SSH)",
        "It is the default machine now; a cell runs there with: %%vm",
        "Show a port of it as a tab: %vm open gpu01 8000",
        "Give it another name: %vm rename gpu01 NEW",
    ]
    for text in ("me@gpu01 over SSH", "<code>%%vm</code>", "<code>%vm open gpu01 8000</code>"):
        assert text in shown.html()
    assert 'data-commandlinker-args="{&quot;machine&quot;: &quot;gpu01&quot;}"' in shown.html()


def test_a_bad_name_is_told_before_anything_is_done(magic):
    double = Double()
    with pytest.raises(UsageError) as caught:
        magic(double).vm("attach me@gpu01 --name Not_Good")
    assert caught.value.code == "usage_bad_name" and double.calls == []


def test_the_default_machine_follows_what_happens_to_it(magic):
    double = Double()
    magics = magic(double)

    def runs():
        magics.vm("", "ls")
        magics.vm("exec -- ls")
        return [double.ran_on.pop(), double.ran_on.pop()]

    for call in (lambda: magics.vm("", "ls"), lambda: magics.vm("exec -- ls")):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "usage_no_machine" and "%vm use NAME" in caught.value.hint
    magics.vm("attach me@gpu01")
    assert runs() == ["gpu01"] * 2
    magics.vm("use other")
    assert runs() == ["other"] * 2
    magics.vm("rename other third")
    assert runs() == ["third"] * 2
    magics.vm("rename gpu01 fourth")
    magics.vm("detach gpu01")
    magics.vm("destroy gpu01")
    assert runs() == ["third"] * 2
    magics.vm("exec gpu01 -- ls")
    assert double.ran_on.pop() == "gpu01"
    for line in ("detach third", "destroy third"):
        magics.vm("use third")
        assert runs() == ["third"] * 2
        magics.vm(line)
        with pytest.raises(UsageError):
            magics.vm("", "ls")


def test_questions_come_one_after_another_with_the_servers_texts(magic, types, capsys):
    first = question(1, Prompt("Password: "), Prompt("User:", echo=True), instructions="Two\r\nthings.")
    second = question(2, Prompt("Code\x1b[31m\n:"), title="")
    touch = question(3, title="Touch your key.")
    double = Double(first, second, touch)
    asked = types(SECRET, "me", "123456")
    magics = magic(double)
    shown = magics.vm("attach me@gpu01")
    assert asked == [("Password: ", True), ("User: ", False), ("Code[31m : ", True)]
    assert double.answers == [("q1", [SECRET, "me"]), ("q2", ["123456"]), ("q3", [])]
    out, err = capsys.readouterr()
    # The answer that was typed in the open would stay in a notebook: its output is cleared after it.
    assert out.startswith("me@gpu01 asks\nTwo\nthings.\nTouch your key.\n")
    assert SECRET not in out + err + shown.text() + shown.html()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, EOFError])
def test_who_gives_up_is_not_connected_and_nothing_else(magic, types, stop):
    double = Double(question(1, Prompt("Password:"), Prompt("Again:")))
    types(SECRET, stop)
    magics = magic(double)
    with pytest.raises(KeyboardInterrupt) as caught:
        magics.vm("attach me@gpu01")
    assert double.answers == [("q1", None)]
    (line,) = caught.value._render_traceback_()
    assert line == "KeyboardInterrupt: Attaching gpu01 was given up: it is not connected."
    assert magics.session.default_machine is None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("passphrase", "ssh-add"),
        ("password", "ssh-copy-id"),
        ("answer", "IdentityFile"),
        ("new_password", "new"),
    ],
)
def test_where_nobody_can_answer_the_error_says_what_helps(magic, types, kind, says):
    for kernel in (True, False):  # a kernel whose front end takes no input; a shell without a terminal
        double = Double(question(1, Prompt("Passphrase for /k/id:", kind=kind)))
        asked = types(StdinNotImplementedError)
        asked.clear()
        with pytest.raises(TransportError) as caught:
            magic(double, kernel).vm("attach me@gpu01")
        assert len(asked) == kernel  # without a terminal it is known before
        assert caught.value.code == "ssh_needs_answer" and not caught.value.retryable
        assert caught.value.message == "gpu01 asks “Passphrase for /k/id:”, and nobody can answer here."
        assert says in caught.value.hint and "where you can answer" in caught.value.hint
        assert double.answers == [("q1", None)]


def test_a_terminal_that_cannot_hide_what_is_typed_is_not_used(magic, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal("seen by all\n"))
    monkeypatch.setattr(getpass, "getpass", getpass.fallback_getpass)
    double = Double(question(1, Prompt("Password:")))
    with pytest.raises(TransportError) as caught:
        magic(double, kernel=False).vm("attach me@gpu01")
    assert caught.value.code == "ssh_needs_answer" and double.answers == [("q1", None)]


@pytest.mark.parametrize("line", ["attach me@gpu01", "attach --debug me@gpu01"])
def test_no_traceback_holds_an_answer(magic, types, line):
    """Not even one that shows variables, as `%xmode Verbose` and `%tb` do."""
    double = Double(question(1, Prompt("Password:")), TransportError("No.", code="ssh_auth_failed"))
    types(SECRET)
    with pytest.raises(TransportError) as caught:
        magic(double).vm(line)
    error = caught.value
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "No." in told and SECRET not in told
    assert double.answers == [("q1", [SECRET])]  # so it was there to be found


def test_texts_of_a_server_cannot_steer_a_terminal():
    assert clean("a\x1b]0;x\x07b\r\nc\u202ed\te\x00") == "a]0;xb\ncd\te"
    assert introduction(question(1, title=" t\x07 ", instructions="")) == "t"
    assert introduction(question(1, title="", instructions="")) == ""
    assert prompt_line(Prompt("Enter\ncode:  ")) == "Enter code: "


def test_an_empty_introduction_says_nothing():
    told = []
    assert ask(question(1, title=""), tell=told.append, read=None) == []
    assert told == []


# -- completion -------------------------------------------------------------------------------------------------


class Slow:
    """A service that answers when it is let."""

    def __init__(self):
        self.let = threading.Event()
        self.asked = 0
        self.answered = threading.Event()

    async def list(self):
        return [VM("vm_1", "demo", "me", "local", "running", NOW), workspace()]

    async def ssh_hosts(self):
        self.asked += 1
        while not self.let.is_set():
            await asyncio.sleep(0.01)
        self.answered.set()
        return [SSHHost(name, "~/.ssh/config") for name in ("gpu01", "gpu02", "login")]


def test_hosts_and_machines_are_offered_where_one_can_be_attached(magic):
    double = Slow()
    double.let.set()
    session = magic(double).session

    def offered(line):
        return [(item.text, item.type) for item in candidates(line, session) or []]

    # Whoever is slow, as a busy computer: an answer that comes after `WAIT_S` is there the next time.
    while not (session.machines_for_completion() and session.hosts_for_completion()):
        pass
    assert offered("%vm attach ") == [
        ("demo", "VM, running"),
        ("gpu01", "workspace, ready"),
        ("gpu02", "ssh host"),
        ("login", "ssh host"),
    ]
    assert offered("%vm attach ssh lo") == [("login", "ssh host")]
    assert offered("%vm attach ssh -p 2200 lo") == [("login", "ssh host")]
    assert offered("%vm attach --ssh lo") == [("login", "ssh host")]
    assert offered("%vm attach --name x lo") == [("login", "ssh host")]
    assert offered("%vm attach --name lo") == []
    assert offered("%vm attach login ") == []
    assert [text for text, _ in offered("%vm attach --")] == ["--name", "--startup", "--ssh", "--debug"]
    for verb in ("use", "detach", "info", "exec"):
        assert [text for text, _ in offered(f"%vm {verb} ")] == ["demo", "gpu01"]
    assert double.asked == 1


def test_a_slow_answer_is_not_waited_for_and_there_the_next_time(magic):
    double = Slow()
    session = magic(double).session
    assert candidates("%vm attach lo", session) is None  # came back though nothing was answered
    assert candidates("%vm attach lo", session) is None
    assert double.asked == 1
    double.let.set()
    assert double.answered.wait(30)
    assert [item.text for item in candidates("%vm attach lo", session)] == ["login"]
    assert double.asked == 1


def test_what_is_remembered_grows_old():
    now = [0.0]
    answers = iter([["a"], ["b"]])

    class Runner:
        def submit(self, work):
            work.close()
            future = __import__("concurrent.futures").futures.Future()
            future.set_result(next(answers))
            return future

    async def nothing():
        return []

    names = Remembered(5.0, lambda: now[0])
    assert names.get(Runner(), None) == ()
    assert names.get(Runner(), nothing) == ["a"]
    now[0] = 5.0
    assert names.get(Runner(), nothing) == ["a"]
    now[0] = 5.1
    assert names.get(Runner(), None) == ["a"]
    assert names.get(Runner(), nothing) == ["b"]
