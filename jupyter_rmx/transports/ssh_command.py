"""From an ExecSpec to the shell text that an SSH server takes. No I/O.

An SSH server may refuse `env` requests (OpenSSH takes only what `AcceptEnv` names) and has no request for a working
directory, so both are done by the shell, before the command. The values of the environment travel on standard input,
before the command's own: in the command they would be visible to every user of the machine in its process list, and
to asyncssh's log. A command too long for one argument travels there as well. Which shell reads the text is the
business of `ssh_shell`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import ExecSpec, PtySpec

ARGUMENT_MAX = 120_000
"""Bytes of text that are sent as the command; Linux takes 128 KiB in one argument (MAX_ARG_STRLEN, execve(2))."""
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

# Holds a newline, and the line of assignments, while the line is read; neither reaches the command.
_READ_LINE = "RMX_NL='\n'; IFS= read -r RMX_LINE; eval \"$RMX_LINE\"; unset RMX_NL RMX_LINE"
# Expanded before it is run, so that the command does not find its own text in a variable.
_RUN_KEPT = 'eval "unset RMX_COMMAND; $RMX_COMMAND"'


@dataclass(frozen=True)
class ShellText:
    """`text` for a POSIX shell's `-c`; `preamble`: what it reads first from its standard input."""

    text: str
    preamble: bytes = b""


def _refuse(message: str, hint: str, code: str) -> UsageError:
    return UsageError(message, hint=hint, code=code)


def _check_text(text: str, what: str, code: str) -> None:
    """No NUL, and encodable: neither can be said to a shell."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refuse(f"The {what} has characters that are not text.", "Send text in UTF-8.", code) from None
    if "\0" in text:
        raise _refuse(f"The {what} has a NUL character.", "A shell cannot take one; remove it.", code)


def _check_env(env: dict[str, str]) -> None:
    for name, value in env.items():
        if _ENV_NAME.fullmatch(name) is None:
            raise _refuse(
                f"{name[:40]!r} is not a name of an environment variable.",
                "A name is letters, digits and '_', and does not begin with a digit.",
                "usage_bad_env",
            )
        _check_text(value, f"value of the environment variable {name[:40]}", "usage_bad_env")


def one_line(text: str) -> str:
    """`text` quoted for a POSIX shell on one line, so that `read` takes the whole; needs a newline in `RMX_NL`."""
    return shlex.quote(text).replace("\n", "'\"$RMX_NL\"'")


def _exports(env: dict[str, str]) -> str:
    return "export " + " ".join(f"{name}={one_line(value)}" for name, value in env.items())


def quote_folder(cwd: str) -> str:
    """`cwd` for the shell: absolute, or below the home directory (`~`, `~/x`, `x`), whatever characters it has."""
    if cwd.startswith("/"):
        return shlex.quote(cwd)
    rest = "" if cwd in {"", "~"} else cwd.removeprefix("~/")
    return f'"$HOME"/{shlex.quote(rest)}' if rest else '"$HOME"'


def shell_text(spec: ExecSpec) -> ShellText:
    """What a POSIX shell must run and read to do what `spec` says.

    Raises UsageError `usage_bad_env`, `usage_bad_cwd`, `usage_bad_command`.
    """
    _check_text(spec.command, "command", "usage_bad_command")
    if not spec.command.strip():
        raise _refuse("There is no command.", "Say what to run, as in: ls -l", "usage_bad_command")
    _check_env(spec.env)
    line = [_exports(spec.env)] if spec.env else []
    command = spec.command
    if len(command.encode()) > ARGUMENT_MAX:
        line.append(f"RMX_COMMAND={one_line(command)}")
        command = _RUN_KEPT
    lines = [_READ_LINE] if line else []
    if spec.cwd is not None:
        _check_text(spec.cwd, "working directory", "usage_bad_cwd")
        # On a line of its own, so that a command of several lines is guarded as a whole.
        lines.append(f"cd -- {quote_folder(spec.cwd)} || exit")
    lines.append(command)
    return ShellText("\n".join(lines), ("; ".join(line) + "\n").encode() if line else b"")


def pty_text(spec: PtySpec) -> str | None:
    """The text for the login shell that a terminal runs; None: an interactive login shell.

    `env` is checked here and never part of the text, which others could read in the process list. Raises as
    `shell_text`.
    """
    if spec.command is not None:
        _check_text(spec.command, "command", "usage_bad_command")
    _check_env(spec.env)
    return spec.command
