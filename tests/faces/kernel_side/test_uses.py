"""The verbs that change a machine which is there, as a user sees them: `%vm` and `jupyter rmx`."""

import json

import pytest

from tests.faces.kernel_side.test_cli import rmx


@pytest.fixture
def made(use_server):
    """A machine of the test's own, and all that it makes."""
    code, out, _ = rmx(use_server.env, "create", "uses", "--json")
    assert code == 0, out
    before = {"demo"}
    yield use_server
    for vm in json.loads(rmx(use_server.env, "ls", "--json")[1])["machines"]:
        if vm["name"] not in before:
            rmx(use_server.env, "destroy", vm["name"])


def test_the_life_of_a_machine_in_a_terminal(made, demo):
    env = made.env
    assert rmx(env, "pause", "uses")[:2] == (
        0,
        "uses: paused (local)\nIt goes on when it is used, or with: jupyter rmx resume uses\n",
    )
    assert json.loads(rmx(env, "info", "uses", "--json")[1])["status"] == "paused"
    assert rmx(env, "resume", "uses")[:2] == (0, "uses: running (local)\n")
    kept = json.loads(rmx(env, "snapshot", "uses", "--label", "a b", "--json")[1])
    assert kept["name"] == "a b"
    assert rmx(env, "restore", kept["id"], "--name", "uses-2")[:2] == (0, "uses-2: running (local)\n")
    assert rmx(env, "fork", "uses", "--name", "uses-3")[:2] == (0, "uses-3: running (local)\n")
    assert rmx(env, "rename", "uses-3", "uses-4")[:2] == (0, "uses-4: running (local)\n")
    code, out, err = rmx(env, "restore", "snap_0")
    assert (code, out) == (1, "") and "no snapshot" in err and "%vm" not in err


def test_the_life_of_a_machine_in_a_notebook(made, demo, ip, bundle):
    paused = bundle("%vm pause uses")
    assert (
        paused["text/plain"] == "uses: paused (local)\nIt goes on when it is used, or with: %vm resume uses"
    )
    assert "paused" in paused["text/html"] and "%vm resume uses" in paused["text/html"]
    assert "uses: paused" in bundle("%vm create uses")["text/plain"]
    assert "at its provider: " in bundle("%vm info uses")["text/plain"]
    assert bundle("%vm resume uses")["text/plain"] == "uses: running (local)"
    kept = bundle("%vm snapshot uses --label before")["text/plain"]
    assert kept.startswith("Snapshot of uses (before): snap_") and "%vm restore snap_" in kept
    assert "uses-9: running" in bundle("%vm fork uses --name uses-9")["text/plain"]
    assert "uses-8: running" in bundle("%vm rename uses-9 uses-8")["text/plain"]


def test_verbs_and_names_are_completed(made, demo, ip):
    from jupyter_rmx.magics.complete import candidates
    from jupyter_rmx.magics.session import current_session

    session = current_session()
    ip.run_cell("%vm ls")
    assert {"pause", "rename", "resume", "restore"} <= {
        item.text for prefix in ("pau", "re") for item in candidates(f"%vm {prefix}", session)
    }
    assert "uses" in [item.text for item in candidates("%vm pause us", session)]
    assert [item.text for item in candidates("%vm fork uses --n", session)] == ["--name"]
