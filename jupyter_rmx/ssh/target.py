"""From whatever a person pastes to an SSHTarget, and from that to a machine name."""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.ssh.argv import SSHCommand, is_ssh, parse_argv
from jupyter_rmx.ssh.destination import bad_target, checked_user, is_address, parse_destination, shown
from jupyter_rmx.ssh.jump import parse_jump_chain
from jupyter_rmx.ssh.options import durable_options, durable_target, split_option
from jupyter_rmx.ssh.tokens import expand_tokens

TEXT_MAX = 16384
"""Characters of a pasted line; a longer one is a mistake."""
SLUG_MAX = 40
# `$ `, and before the word ssh a whole prompt: `(base) me@laptop:~/x$ `.
_PROMPT = re.compile(
    r"\A\s*(?:(?:\([^()\n]*\) )?\S*[$%>#\u276f][ \t]+(?=ssh(?:\.exe)?[ \t])|[$%>#\u276f]\s+)", re.IGNORECASE
)
_LINE_GOES_ON = re.compile(r"\\[ \t]*\r?\n")
_HOME = re.compile(r"\A\$(?:HOME|\{HOME\})(?=/|\Z)")
# What belongs to the one session that was pasted, not to the machine.
_SESSION_ONLY = frozenset(
    {
        "batchmode",
        "clearallforwardings",
        "dynamicforward",
        "escapechar",
        "exitonforwardfailure",
        "forkafterauthentication",
        "forwardx11",
        "forwardx11trusted",
        "gatewayports",
        "localcommand",
        "localforward",
        "loglevel",
        "permitlocalcommand",
        "remotecommand",
        "remoteforward",
        "requesttty",
        "sessiontype",
        "stdinnull",
        "stdioforward",
        "tunnel",
        "tunneldevice",
    }
)


def parse_target(text: str, *, home: str | None = None) -> SSHTarget:
    """The SSH target that `text` means; UsageError `usage_bad_target` with one line and the next step otherwise.

    `text` is `host`, `user@host`, `user@host:port`, an IPv6 address (`user@[::1]:2200`, `::1`), `ssh:host`,
    `ssh://user@host:port`, or a whole `ssh …` command line in POSIX quoting (the word `ssh` may be missing where the
    host comes first): a `$ ` before it, Windows line ends, lines joined by a backslash and a comment behind it are
    tolerated. Flags that concern only the session that was
    pasted (forwardings, -N, -t, RemoteCommand …) are dropped. A line that runs a command there is refused: a machine
    is a place, and the error says where the command goes. `home`: `~` in paths is expanded to it.
    """
    if len(text) > TEXT_MAX or "\0" in text:
        raise bad_target("This is too long or too odd to be a target.")
    line = _PROMPT.sub("", _LINE_GOES_ON.sub(" ", text)).strip(" \t\r\n")
    if not line:
        raise bad_target("No target was given.")
    words = line.split()
    if len(words) > 1 and words[1].startswith("-") and not words[0].startswith("-") and not is_ssh(words[0]):
        line = f"ssh {line}"  # `me@host -p 2200`
    target = _of_line(line) if is_ssh(line.split(maxsplit=1)[0]) else _of_destination(line)
    return target if home is None else durable_target(target, home=home)


def _of_destination(line: str) -> SSHTarget:
    if line.startswith("ssh:") and not line.startswith("ssh://"):
        line = line.removeprefix("ssh:")
    if line.startswith("-"):
        raise bad_target(
            f"{shown(line.split()[0])} begins with '-', so it is no host.",
            "To give options, paste the whole line: ssh -p 2200 me@host",
        )
    if len(line.split()) > 1:  # not shown: a line of another program may hold a password
        raise bad_target("This is neither a host nor a line that begins with ssh.")
    found = parse_destination(line, port_may_follow=True)
    return SSHTarget(destination=str(found), port=found.port)


def _of_line(line: str) -> SSHTarget:
    if "\n" in line or "\r" in line:
        raise bad_target("There is more than one line.", "Paste the one line that begins with ssh.")
    try:
        words = shlex.split(line)
    except ValueError:
        try:  # a quotation mark may stand in a comment behind the command
            words = shlex.split(line.partition(" #")[0])
        except ValueError:
            raise bad_target(
                "A quotation mark in this line is not closed.", "Check the quotes of the line."
            ) from None
    comment = next((n for n, word in enumerate(words) if word.startswith("#")), len(words))
    command = parse_argv([_HOME.sub("~", word) for word in words[:comment]])
    if command.command:  # not shown: it may hold a password
        raise bad_target(
            "This line also runs a command there, and a machine is only a place.",
            "Attach the machine without it; then run it with %vm exec NAME -- COMMAND, or give it as --startup.",
        )
    return target_of(command)


def target_of(command: SSHCommand) -> SSHTarget:
    """The machine of a command line, without what it does there; UsageError `usage_bad_target` for a bad user or jump."""
    if command.user is not None:
        checked_user(command.user, colon=command.user_by_flag)
    if command.jump_host is not None:
        _check_jump(command.jump_host)
    options = [one for one in command.options if split_option(one)[0] not in _SESSION_ONLY]
    if command.forward_agent is False:
        command.flag_options.append("ForwardAgent=no")
    return SSHTarget(
        destination=command.login,
        port=command.port,
        identity_files=tuple(command.identity_files),
        config_file=command.config_file,
        jump_host=command.jump_host,
        use_ipv4=command.use_ipv4,
        use_ipv6=command.use_ipv6,
        forward_agent=bool(command.forward_agent),
        compression=command.compression,
        options=durable_options([*command.flag_options, *options]),
    )


def _check_jump(spec: str) -> None:
    try:
        spec = expand_tokens(spec, {"h": "h", "n": "h", "p": "22", "r": "me"})
    except UsageError:
        raise bad_target("A jump host has a %-token that ssh does not know there.") from None
    parse_jump_chain(spec)


def slug(target: SSHTarget) -> str:
    """A machine name for a target: the first label of its host (`me@gpu01.lab.example.org` → `gpu01`).

    An address is kept whole (`10-0-0-5`, `ip6-2001-db8-1`). Letters lose their accents; where nothing is left the
    name is `ssh-` and 8 hex of the host's SHA-256. The same target always gets the same name, and it is always one
    of the grammar in models.names; whether it is free is the caller's matter.
    """
    host = target.destination.rpartition("@")[2]
    if is_address(host):
        name = _letters(f"ip6-{host}" if ":" in host else host)
    else:
        name = _letters(host.partition(".")[0])
    return name or f"ssh-{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[: SLUG_MAX + 1].strip("-")[:SLUG_MAX].strip("-")
