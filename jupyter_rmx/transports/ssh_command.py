"""From an ExecSpec to the one line of shell text that an SSH server takes. No I/O.

An SSH server may refuse `env` requests (OpenSSH takes only what `AcceptEnv` names) and has no request for a working
directory, so both are done by the shell, before the command. The values of the environment travel as the first line
of standard input: in the command they would be visible to every user of the machine in its process list, and to
asyncssh's log.
"""

from __future__ import annotations

import re
import shlex

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import ExecSpec, PtySpec

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

# Holds a newline, and the line of assignments, while the environment is read; neither reaches the command.
_READ_ENV = "RMX_NL='\n'; IFS= read -r RMX_ENV; eval \"$RMX_ENV\"; unset RMX_NL RMX_ENV"


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


def _exports(env: dict[str, str]) -> str:
    """One line of `export` assignments; a newline in a value becomes `"$RMX_NL"`, so that `read` takes the whole."""
    quoted = (f"{name}={shlex.quote(value)}" for name, value in env.items())
    return "export " + " ".join(item.replace("\n", "'\"$RMX_NL\"'") for item in quoted)


def quote_folder(cwd: str) -> str:
    """`cwd` for the shell: absolute, or below the home directory (`~`, `~/x`, `x`), whatever characters it has."""
    if cwd.startswith("/"):
        return shlex.quote(cwd)
    rest = "" if cwd in {"", "~"} else cwd.removeprefix("~/")
    return f'"$HOME"/{shlex.quote(rest)}' if rest else '"$HOME"'


def shell_text(spec: ExecSpec, first: str | None = None) -> tuple[str, bytes]:
    """The text for the login shell, and the bytes to send to it before any standard input.

    `first` is a line to run before all else.

    Raises UsageError `usage_bad_env`, `usage_bad_cwd`, `usage_bad_command`.
    """
    _check_text(spec.command, "command", "usage_bad_command")
    if not spec.command.strip():
        raise _refuse("There is no command.", "Say what to run, as in: ls -l", "usage_bad_command")
    _check_env(spec.env)
    lines = [first] if first else []
    preamble = b""
    if spec.env:
        lines.append(_READ_ENV)
        preamble = (_exports(spec.env) + "\n").encode()
    if spec.cwd is not None:
        _check_text(spec.cwd, "working directory", "usage_bad_cwd")
        # On a line of its own, so that a command of several lines is guarded as a whole.
        lines.append(f"cd -- {quote_folder(spec.cwd)} || exit")
    lines.append(spec.command)
    return "\n".join(lines), preamble


def pty_text(spec: PtySpec) -> str | None:
    """The text for the login shell that a terminal runs; None: an interactive login shell.

    `env` is checked here and never part of the text, which others could read in the process list. Raises as
    `shell_text`.
    """
    if spec.command is not None:
        _check_text(spec.command, "command", "usage_bad_command")
    _check_env(spec.env)
    return spec.command
