"""`jupyter rmx` as a process, against a real server, and with none."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.usefixtures("demo")
FAIL_SAFE_S = 100


def rmx(env, *words):
    """Its exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_rmx.cli", *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=FAIL_SAFE_S,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def test_it_is_a_jupyter_command(server):
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "jupyter"), "rmx", "ls"],
        env=server.env,
        capture_output=True,
        text=True,
        timeout=FAIL_SAFE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_machines_from_a_script(server):
    code, out, _ = rmx(server.env, "create", "scripted", "--json")
    assert code == 0 and json.loads(out)["status"] == "running"
    code, out, _ = rmx(server.env, "ls", "--json")
    assert "scripted" in [vm["name"] for vm in json.loads(out)["machines"]]
    code, out, _ = rmx(server.env, "destroy", "scripted", "--json")
    assert (code, json.loads(out)) == (0, {"destroyed": ["scripted"]})


def test_exec_passes_bytes_and_the_exit_code(server):
    command = "printf 'a\\377b'; echo err >&2; exit 7"
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_rmx.cli", "exec", "demo", "--", command],
        env=server.env,
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a\xffb", b"err\n")
    assert rmx(server.env, "exec", "demo", "--", "kill -TERM $$")[0] == 128 + signal.SIGTERM
    code, out, _ = rmx(server.env, "exec", "demo", "--json", "--", "sh", "-c", "echo o; echo e >&2; exit 3")
    assert (code, json.loads(out)) == (3, {"exit_code": 3, "signal": None, "stdout": "o\n", "stderr": "e\n"})


def test_upload_and_open(server, tmp_path):
    (tmp_path / "f.txt").write_text("hello")
    code, out, _ = rmx(server.env, "upload", "demo", str(tmp_path / "f.txt"), "--json")
    assert json.loads(out)["files"][0]["sha256"] == hashlib.sha256(b"hello").hexdigest()
    code, out, _ = rmx(server.env, "open", "demo", "8000/x", "--json")
    assert code == 0 and json.loads(out)["shown"] == "http://localhost:8000/x"


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["exec", "nope", "--", "ls"], 1, "vm_not_found"),
        (["upload", "demo", "/no/such/file"], 1, "transfer_missing_file"),
        (["open", "demo", "65536"], 2, "usage_bad_port"),
        (["frobnicate"], 2, "usage_unknown_verb"),
    ],
)
def test_errors_are_one_line_or_one_document(server, words, status, code):
    exit_code, out, err = rmx(server.env, *words)
    assert (exit_code, out) == (status, "")
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    assert "%vm" not in err
    at = words.index("--") if "--" in words else len(words)
    exit_code, out, err = rmx(server.env, *words[:at], "--json", *words[at:])
    assert (exit_code, err, json.loads(out)["error"]) == (status, "", code)


def test_ctrl_c_reaches_the_group_there(server):
    command = "trap 'echo tidied; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_rmx.cli", "exec", "demo", "--", command],
        env=server.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=FAIL_SAFE_S)
    assert (process.returncode, out, err) == (130, "tidied\n", "")


def test_a_reader_that_goes_away_is_no_traceback(server):
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_rmx.cli", "exec", "demo", "--", "yes"],
        env=server.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(FAIL_SAFE_S) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.fixture
def alone(server, tmp_path):
    """The environment of a user for whom no server runs."""
    env = {
        **server.env,
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "rt"),
        "JUPYTER_RMX_DATA_DIR": str(tmp_path / "data"),
    }
    del env["JUPYTER_RMX_CONNECTION"]
    return env


def server_pids(env):
    """Servers that this runtime directory knows of and that live."""
    files = os.listdir(env["JUPYTER_RUNTIME_DIR"]) if os.path.isdir(env["JUPYTER_RUNTIME_DIR"]) else []
    pids = [int(name[4:-6]) for name in files if name.startswith("rmx-") and name.endswith(".users")]
    return [pid for pid in pids if psutil.pid_exists(pid)]


PLAIN = """
import sys
from IPython.core.interactiveshell import InteractiveShell
ip = InteractiveShell.instance()
ip.run_line_magic("load_ext", "jupyter_rmx")
result = ip.run_cell("machines = %vm ls")
print("ready", flush=True)
sys.stdin.readline()
sys.exit(0 if result.success else 1)
"""


def test_without_a_server_one_is_started_and_ends_with_its_last_user(alone):
    code, out, err = rmx(alone, "ls")
    assert code == 0
    assert out.startswith("No machines yet. Make one: jupyter rmx create demo") and "%vm" not in out
    assert err.startswith("Started a server") and len(err.splitlines()) == 1
    assert server_pids(alone) == []

    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", PLAIN], env=alone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )
    for shell in (first, second):
        while shell.stdout.readline() != "ready\n":
            assert shell.poll() is None
    (pid,) = server_pids(alone)  # both started at once, and share one
    first.communicate("\n", timeout=FAIL_SAFE_S)
    assert first.returncode == 0
    assert server_pids(alone) == [pid]
    code, _, err = rmx(alone, "ls")
    assert (code, err) == (0, "")
    assert server_pids(alone) == [pid]
    second.communicate("\n", timeout=FAIL_SAFE_S)
    assert second.returncode == 0
    assert server_pids(alone) == []
    log = Path(alone["JUPYTER_RUNTIME_DIR"], "rmx-serve.log").read_text()
    assert "token=" not in log.replace("token=...", "")


def test_a_server_that_cannot_start_says_where_to_look(alone, tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "jupyter_jupyter_rmx_config.py").write_text("raise SystemExit('broken')")
    (config / "jupyter_server_config.py").write_text("raise SystemExit('broken')")
    code, out, err = rmx({**alone, "JUPYTER_CONFIG_DIR": str(config)}, "ls")
    assert (code, out) == (1, "")
    assert "could not be started" in err and "rmx-serve.log" in err
    assert server_pids(alone) == []


def test_shared_ports_are_said(start_server, monkeypatch):
    monkeypatch.setenv("JUPYTER_RMX_LOCAL_ISOLATION", "plain")
    code, out, err = rmx(start_server().env, "create", "bare")
    assert (code, out) == (0, "bare: running (local)\n")
    assert "its ports are ports of this computer itself" in err
