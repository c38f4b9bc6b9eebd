"""Colours and UTF-8 in the shells of real servers, whatever the login shell is and whatever the server allows."""

import shutil
from pathlib import Path

import pytest

from tests.login_shells import LoginServer

SHELLS = ("/bin/bash", "/bin/sh", "/usr/bin/zsh", "/usr/bin/fish", "/bin/tcsh")
PROMPTS = {
    ".bash_profile": "PS1='> '; unset HISTFILE\n",
    ".profile": "PS1='> '; unset HISTFILE\n",
    ".zshrc": "PS1='> '\n",
    ".login": "set prompt='> '\n",
    ".config/fish/config.fish": "function fish_prompt; echo '> '; end\nset -g fish_greeting\n",
    ".inputrc": "set enable-bracketed-paste off\n",
    ".hushlogin": "",
}
REPORT = '/bin/sh -c \'printf "%s|%s|%s|%s\\n" "$TERM" "$COLORTERM" "$(locale charmap)" "$(printf "\\303\\274" | wc -m)"\''


@pytest.fixture
def serve(machines):
    """Put another server behind the machine."""
    running = []

    def start(*args, **options):
        running.append(LoginServer(*args, **options).start())
        machines.endpoint = running[-1].endpoint
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.mark.parametrize("kind", ["sshd", "dropbear"])
@pytest.mark.parametrize("shell", SHELLS)
async def test_every_login_shell_has_colours_and_utf8(serve, terminals, look, shell, kind):
    serve(shell, PROMPTS, kind=kind)
    screen = look(await terminals.open("gpu01"))
    await screen.until("> ")
    await screen.type(f"echo $0; {REPORT}; exit\r")
    shown = await screen.rest()
    assert "xterm-256color|truecolor|UTF-8|1" in shown.replace("\r", "")
    assert "RMX" not in shown
    assert "COLORTERM=" not in shown


@pytest.mark.parametrize("name", ["LC_ALL", "LC_CTYPE", "LANG"])
@pytest.mark.parametrize("value", ["C", "POSIX", "C.UTF-8", "xx_YY.UTF-8", ""])
async def test_a_locale_without_utf8_is_given_one(serve, terminals, look, name, value):
    serve("/bin/bash", PROMPTS, more=f"SetEnv {name}={value}" if value else "")
    screen = look(await terminals.open("gpu01"))
    await screen.until("> ")
    assert (await screen.say("locale charmap 2>/dev/null")).strip() == "UTF-8"
    assert (await screen.say("printf '%s' 'ü🙂' | wc -m")).strip() == "2"


async def test_it_is_a_login_shell_and_the_message_of_the_day_is_shown(serve, terminals, look):
    profile = {**PROMPTS, ".bash_profile": "PS1='> '; unset HISTFILE; echo PROFILE WAS READ\n"}
    del profile[".hushlogin"]
    serve("/bin/bash", profile)
    screen = look(await terminals.open("gpu01"))
    shown = await screen.until("> ")
    assert "PROFILE WAS READ" in shown
    motd = Path("/etc/motd")
    for line in motd.read_text().splitlines() if motd.exists() else []:
        assert line.strip() in shown
    assert "login" in await screen.say("shopt -q login_shell && echo login")
    assert (await screen.say("ps -o comm= -p $PPID")).strip().startswith("sshd")


async def test_a_shell_that_lets_nobody_in_says_so_and_ends(serve, terminals, look):
    serve(shutil.which("nologin") or "/usr/sbin/nologin", {})
    screen = look(await terminals.open("gpu01"))
    assert "This account is currently not available." in await screen.rest()
    assert screen.view.ending == "ended"
    assert await terminals.list("gpu01") == []
