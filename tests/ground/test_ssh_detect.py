"""An SSH session in a terminal is found by what runs there, and nothing else is taken for one."""

import os
import pty
import signal
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.ssh.detect import TerminalProcess, detect_for_tty, is_interactive_ssh
from tests.ground.openssh import ENVIRON

WORDS = st.lists(
    st.sampled_from(
        [
            "ssh",
            "et",
            "mosh",
            "-p",
            "-#",
            "|",
            "",
            "22",
            "-J",
            "host",
            "--",
            "--ssh=ssh",
            "--ssh",
            "--jumphost",
            "me@h",
            "-u",
            "'",
            "[::1]:2",
            "-x",
            "-6",
        ]
    )
    | st.text(max_size=5),
    max_size=6,
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ssh", "et", "mosh", "mosh-client", "bash", "/usr/bin/SSH"]), WORDS),
        max_size=4,
    )
)
def test_any_processes_are_a_target_or_none(processes):
    rows = [TerminalProcess(n, 5, 5, "pts/1", exe) for n, (exe, _) in enumerate(processes, 10)]
    argv = {n: [exe, *words] for n, (exe, words) in enumerate(processes, 10)}
    found = detect_for_tty("/dev/pts/1", rows, argv)
    assert found is None or not found.destination.startswith("-")


@pytest.mark.parametrize(
    ("argv", "destination", "port", "jump", "six"),
    [
        (["mosh", "--ssh=ssh -p 2200 -J j", "me@h"], "me@h", 2200, "j", False),
        (["mosh", "--ssh", "ssh -p 2200", "-6", "--", "h", "tmux", "a"], "h", 2200, None, True),
        (["mosh", "--ssh=dbclient -p 3", "--family=inet6", "h"], "h", None, None, True),
        (["mosh", "--ssh='", "h"], "h", None, None, False),
        (["et", "-p", "2022", "me@h:2023"], "me@h", None, None, False),
        (["et", "--jumphost=me@j:2022", "--jport", "7", "h"], "h", None, "me@j", False),
        (["et", "-v9", "--host", "h", "-u", "me"], "me@h", None, None, False),
    ],
)
def test_sessions_that_roam_lead_to_their_ssh_host(argv, destination, port, jump, six):
    rows = [TerminalProcess(7, 7, 7, "pts/1", argv[0])]
    found = detect_for_tty("pts/1", rows, {7: argv})
    assert (found.destination, found.port, found.jump_host, found.use_ipv6) == (destination, port, jump, six)


@pytest.mark.parametrize(
    ("flags", "interactive"),
    [
        ("-t", True),
        ("-v -A -C", True),
        ("-N", False),
        ("-f", False),
        ("-T", False),
        ("-s", False),
        ("-o StdinNull=yes", False),
        ("-o RequestTTY=force", True),
        ("-o RequestTTY=yes -o RequestTTY=no", True),
        ("-o StdioForward=a:1", False),
    ],
)
def test_a_session_without_a_shell_is_no_session(flags, interactive):
    assert is_interactive_ssh(["ssh", *flags.split(), "host"]) is interactive


def _processes():
    """All processes of this computer that have a terminal, as psutil and the kernel tell."""
    for process in psutil.process_iter(["pid", "name", "terminal", "cmdline"]):
        if process.info["terminal"]:
            try:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            row = TerminalProcess(
                process.pid, int(fields[2]), int(fields[5]), process.info["terminal"], process.info["name"]
            )
            yield row, process.info["cmdline"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="not-this-os: no /proc")
def test_a_real_ssh_in_a_real_terminal_is_found(tmp_path):
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    proxy = f"ProxyCommand=sh -c 'echo %h:%p > {fifo}; exec sleep 600'"
    words = ["ssh", "-F", "none", "-o", proxy, "-vp", "2200", "me@gpu01.lab"]
    pid, front = pty.fork()
    if pid == 0:
        os.execvpe("ssh", words, ENVIRON)
    try:
        assert fifo.read_text() == "gpu01.lab:2200\n"  # ssh runs and waits for its proxy
        tty = psutil.Process(pid).terminal()
        rows = list(_processes())
        found = detect_for_tty(tty, [row for row, _ in rows], {row.pid: argv for row, argv in rows})
        assert (found.destination, found.port) == ("me@gpu01.lab", 2200)
        assert found.options == (proxy,)
        assert (
            detect_for_tty("pts/none", [row for row, _ in rows], {row.pid: argv for row, argv in rows})
            is None
        )
    finally:
        children = psutil.Process(pid).children(recursive=True)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(front)
        for child in children:
            if child.is_running():
                child.kill()
