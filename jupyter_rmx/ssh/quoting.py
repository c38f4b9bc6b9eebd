"""Words for a POSIX shell, and for the options of ssh that hold a command (vectors quoting.json)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


def shell_quote(value: str) -> str:
    """One word that every POSIX shell reads as `value`; left bare where no shell would act on it.

    ValueError for a NUL, which no argument can hold.
    """
    if "\0" in value:
        raise ValueError("a word of a command cannot hold a NUL")
    if _BARE.fullmatch(value):
        return value
    # The form of Python's shlex, which fish and csh read alike.
    return "'" + value.replace("'", "'\"'\"'") + "'"


def posix_shell_command(script: str) -> str:
    """A command line that runs `script` with sh, whatever POSIX shell the login shell is.

    fish and csh run it, too, unless `script` holds what they act on between single quotes: two backslashes in a row
    (fish), a newline or `!` (csh). What may hold anything goes over standard input instead.
    """
    return f"/bin/sh -c {shell_quote(script)}"


def local_command_option(script: str | None) -> str | None:
    """The value of LocalCommand that runs `script`; None if there is none.

    Every `%` is doubled, since ssh expands its tokens first (ssh_config(5), TOKENS).
    """
    script = (script or "").strip()
    return posix_shell_command(script).replace("%", "%%") if script else None


def combine_snippets(parts: Iterable[str | None]) -> str | None:
    """Snippets that end themselves (`a;`), joined by a space; None if all are blank."""
    kept = [part.strip() for part in parts if part is not None and part.strip()]
    return " ".join(kept) or None
