"""Paths and URLs typed into a terminal (vectors quoting.json)."""

from __future__ import annotations

import re

# What shells act on. A letter that is not here is typed as it is, so that people can read what they get.
_SPECIAL = re.compile(r"[\\ \t()\[\]{}<>\"'`!#$&;|*?]")


def escape_for_terminal(value: str) -> str:
    """`value` as one word of a command line, with a backslash before each character that a shell acts on.

    Text with a line end is put in single quotes instead, since a backslash before it would join the lines. An empty
    text stays empty: nothing is typed. Other control characters are the caller's to refuse: no quoting keeps a terminal
    from acting on them.
    """
    if "\n" in value or "\r" in value:
        return "'" + value.replace("'", "'\\''") + "'"
    return _SPECIAL.sub(r"\\\g<0>", value)
