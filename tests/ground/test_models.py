"""Frozen values and their wire form; secrets stay out of reprs."""

from datetime import datetime, timedelta, timezone

import pytest

from jupyter_rmx import __version__
from jupyter_rmx.connection import Connection
from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import (
    VM,
    Attached,
    ConnectionState,
    Exit,
    PortLink,
    Prompt,
    Question,
    SSHEndpoint,
    SSHTarget,
    VMSpec,
    Workspace,
    check_timeout,
    machine_from_wire,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=2)))


def test_a_vm_survives_the_wire_in_utc():
    vm = VM("vm_1", "demo", "me", "local", "running", NOW, "local-1", None, {"isolation": "bubblewrap"})
    wire = vm.to_wire()
    assert wire["created_at"] == "2026-11-23T10:00:00+00:00"
    assert wire["label"] == vm.label
    assert VM.from_wire(wire | {"new_field": 1}) == vm


def test_a_fingerprint_tells_wishes_apart():
    assert VMSpec("demo").fingerprint() == VMSpec("demo").fingerprint()
    wishes = [VMSpec("demo"), VMSpec(None), VMSpec("demo", "local"), VMSpec("demo", None, "local")]
    assert len({wish.fingerprint() for wish in wishes}) == len(wishes)


def test_secrets_are_not_in_reprs():
    link = PortLink(
        "demo", "vm_1", 80, "http://a/", "http://a/?ticket=SECRET", "http://localhost/", NOW, "open_1"
    )
    shown = [
        repr(link),
        repr(SSHEndpoint("u", "ssh-ed25519 AAAA", client_key="SECRET")),
        repr(Connection("http://127.0.0.1:1/", "SECRET", 1, __version__)),
    ]
    assert not [text for text in shown if "SECRET" in text]
    assert PortLink.from_wire(link.to_wire()) == link


def test_an_exit_in_words():
    assert (str(Exit(3)), str(Exit(None, "KILL")), Exit(0).ok) == ("exit code 3", "signal KILL", True)


def test_a_workspace_and_its_question_survive_the_wire():
    target = SSHTarget(
        "me@gpu01", 2200, ("/keys/a", "/keys/b"), "conf", "bastion", True, options=("A=1", "B 2")
    )
    state = ConnectionState("reconnecting", 2, 6.0, "ssh_refused", "refused", "Is it on?")
    workspace = Workspace("ws_1", "gpu01", "me", target, NOW, "tmux", state)
    assert machine_from_wire(workspace.to_wire() | {"new_field": 1}) == workspace
    question = Question(
        "q_1", "gpu01", "me@gpu01", "Duo", (Prompt("Code: ", echo=True), Prompt("Password: "))
    )
    for attached in (Attached(workspace, question), Attached(workspace)):
        assert Attached.from_wire(attached.to_wire()) == attached


def test_the_words_of_a_target_are_safe_behind_ssh():
    target = SSHTarget("gpu01", 22, ("/k a",), "c", "b", True, True, True, True, ("A=1",))
    assert target.argv() == [
        "-4", "-6", "-A", "-C", "-F", "c", "-J", "b", "-p", "22", "-i", "/k a", "-o", "A=1", "--", "gpu01"
    ]  # fmt: skip
    assert SSHTarget("gpu01").argv() == ["--", "gpu01"]


@pytest.mark.parametrize("given", [1, 0.5, "60", " 1.5 "])
def test_a_timeout_is_seconds(given):
    assert check_timeout(given) == float(given)
    assert check_timeout(None) is None


@pytest.mark.parametrize("given", [0, -1, "nan", "inf", "1m", "", True, [1], 1e9])
def test_what_is_no_timeout_is_one_line(given):
    with pytest.raises(UsageError) as caught:
        check_timeout(given)
    assert (caught.value.code, "--timeout 60" in caught.value.hint) == ("usage_bad_timeout", True)
