"""Real shells read back what was quoted for them."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_rmx.planner.quoting import escape_for_terminal
from jupyter_rmx.ssh.quoting import combine_snippets, local_command_option, posix_shell_command, shell_quote
from tests.ground.openssh import ENVIRON

FEWER = settings(max_examples=max(60, settings.default.max_examples // 10))
SHELLS = [
    shell
    for shell in (["sh"], ["bash", "--norc"], ["zsh", "-f"], ["busybox", "sh"])
    if shutil.which(shell[0]) is not None
]
WORDS = st.text(
    alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
    | st.sampled_from("'\"\\$`!~ \n\t*?[]{}()#;&|<>=%^"),
    max_size=12,
)


def _words_read_by(shell, command_line):
    done = subprocess.run(
        [*shell, "-c", f"printf '%s\\0' {command_line}"], capture_output=True, check=True, env=ENVIRON
    )
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@FEWER
@given(st.lists(WORDS, min_size=1, max_size=20))
def test_a_shell_reads_back_what_was_quoted(shell, words):
    line = " ".join(shell_quote(word) for word in words)
    assert _words_read_by(shell, line) == words
    # A script inside a script, as it is sent to a login shell.
    inner = posix_shell_command(f"printf '%s\\0' {line}")
    done = subprocess.run([*shell, "-c", inner], capture_output=True, check=True, env=ENVIRON)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@FEWER
@given(st.lists(WORDS.filter(lambda word: word and word[0] not in "~="), min_size=1, max_size=20))
def test_a_shell_reads_back_what_is_typed_into_a_terminal(shell, words):
    """`~` (everywhere) and `=` (zsh) at the start keep what they mean there: a path that is typed may use them."""
    assert _words_read_by(shell, " ".join(map(escape_for_terminal, words))) == words


@pytest.mark.parametrize("shell", ["fish", "tcsh"])
def test_login_shells_that_are_not_posix_run_a_script(shell):
    script = """for a in "it's" 'two  words' '$HOME' '*'; do printf '%s|' "$a"; done; exit 3"""
    done = subprocess.run([shell, "-c", posix_shell_command(script)], capture_output=True, env=ENVIRON)
    assert (done.stdout, done.returncode) == (b"it's|two  words|$HOME|*|", 3)


def test_no_argument_holds_a_nul():
    with pytest.raises(ValueError, match="NUL"):
        shell_quote("a\0b")


def test_openssh_runs_the_local_command_as_it_was_meant(tmp_path):
    """LocalCommand runs after the login only, so ssh is asked what its tokens leave of ours (RemoteCommand)."""
    script = "printf '%s %h %%' \"it's\""
    config = tmp_path / "config"
    config.write_text(f"RemoteCommand {local_command_option(script)}\n")
    done = subprocess.run(["ssh", "-G", "-F", config, "host"], capture_output=True, text=True, env=ENVIRON)
    left = next(line for line in done.stdout.splitlines() if line.startswith("remotecommand "))
    assert left.removeprefix("remotecommand ") == posix_shell_command(script)


def test_snippets_are_joined():
    line = combine_snippets([" printf a; ", None, "printf b;", " "])
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout == b"ab"
