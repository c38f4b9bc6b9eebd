"""The destinations of mosh and Eternal Terminal, which log in by ssh and go on by themselves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.ssh.argv import is_ssh, parse_argv
from jupyter_rmx.ssh.destination import bad_target, checked_user, parse_destination
from jupyter_rmx.ssh.jump import parse_jump_chain

# mosh(1) and et --help: options whose value may be the next word.
_MOSH_VALUES = frozenset(
    {
        "--client",
        "--server",
        "--predict",
        "--family",
        "-p",
        "--port",
        "--bind-server",
        "--ssh",
        "--experimental-remote-ip",
    }
)
_ET_VALUES = frozenset(
    {
        "-u", "--username", "--host", "-p", "--port", "-c", "--command", "--terminal-path", "-t", "--tunnel",
        "-r", "--reversetunnel", "--jumphost", "--jport", "--jserverfifo", "-v", "--verbose", "-k", "--keepalive",
        "-l", "--logdir", "--serverfifo", "--ssh-socket", "--telemetry", "--ssh-option",
    }
)  # fmt: skip


def mosh_target(argv: Sequence[str]) -> SSHTarget | None:
    """Where `mosh …` leads; None if its words name no host. Its -p is a UDP port, never one of ssh."""
    options, words = _split(argv[1:], _MOSH_VALUES)
    return _target(words[0], _mosh_login(options)) if words else None


def mosh_client_target(argv: Sequence[str]) -> SSHTarget | None:
    """The same from `mosh-client '-# <words of mosh> |' ADDRESS PORT`, as mosh starts it; None without that mark.

    The launcher joins its words with blanks, so a word that held one is two here.
    """
    mark = next((word for word in argv[1:] if word.startswith("-# ") and word.endswith("|")), None)
    return None if mark is None else mosh_target(["mosh", *mark[2:-1].split()])


def _mosh_login(options: Sequence[tuple[str, str]]) -> SSHTarget:
    login = SSHTarget(destination="")
    for name, value in options:
        if name in {"-4", "-6"} or (name == "--family" and value in {"inet", "inet6"}):
            six = name == "-6" or value == "inet6"
            login = replace(login, use_ipv4=not six, use_ipv6=six)
        elif name == "--ssh":
            login = _login_by(value, login)
    return login


def _login_by(command: str, login: SSHTarget) -> SSHTarget:
    """The options of `--ssh='ssh -p 2200'`, which decide how mosh logs in."""
    try:
        words = shlex.split(command)
    except ValueError:
        return login
    if not words or not is_ssh(words[0]):
        return login
    try:
        found = parse_argv([*words, "--", "host"])
    except UsageError:
        return login
    return replace(
        login,
        port=found.port,
        identity_files=tuple(found.identity_files),
        config_file=found.config_file,
        jump_host=found.jump_host,
    )


def et_target(argv: Sequence[str]) -> SSHTarget | None:
    """Where `et …` leads; None if its words name no host. The ports in it are those of et's own server."""
    options, words = _split(argv[1:], _ET_VALUES)
    named = dict(reversed(options))
    place = words[0] if words else named.get("--host")
    if not place:
        return None
    jump = named.get("--jumphost")
    login = SSHTarget(destination="", jump_host=None if jump is None else _without_port(jump))
    login = replace(login, forward_agent=bool({"-f", "--forward-ssh-agent"} & set(named)))
    user = named.get("-u", named.get("--username"))
    return _target(place, login, user)


def _without_port(place: str) -> str:
    return str(parse_jump_chain(place)[0])


def _target(place: str, login: SSHTarget, user: str | None = None) -> SSHTarget:
    found = parse_destination(place, port_may_follow=True)
    if found.user is None and user is not None:
        found = replace(found, user=checked_user(user))
    return replace(login, destination=str(found))


def _split(words: Sequence[str], with_value: frozenset[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Options with their values ("" for none), and the other words; behind the first of those nothing is an option."""
    left, options = list(words), []
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if name not in with_value:
            options += [(name, value)] if word.startswith("--") else [("-" + one, "") for one in word[1:]]
            continue
        if not equals:
            if not left:
                raise bad_target(f"A value is missing behind {name}.")
            value = left.pop(0)
        options.append((name, value))
    return options, left
