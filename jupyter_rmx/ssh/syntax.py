"""Lines and patterns of ssh_config (ssh_config(5), readconf.c and match.c)."""

from __future__ import annotations

import re

_KEYWORD = re.compile(r'[ \t]*([^\s"=#]+)(?:[ \t]*=[ \t]*|[ \t]+|\Z)(.*)', re.DOTALL)
_TIME = re.compile(r"(?:[0-9]+[smhdwSMHDW]?)+", re.ASCII)
_TIME_PART = re.compile(r"([0-9]+)([smhdw]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def split_line(line: str) -> tuple[str, str] | None:
    """Keyword in lower case and what stands behind it, unread; None for a blank line or a comment."""
    found = _KEYWORD.match(line.rstrip(" \t\r\n\f"))
    return None if found is None else (found[1].lower(), found[2])


def split_words(text: str) -> list[str]:
    """The words of a value: blanks part them, quotes join, a backslash escapes a quote, itself and a blank.

    What stands behind a `#` at the start of a word is a comment. ValueError for a quote that is not closed.
    """
    words: list[str] = []
    place = 0
    while True:
        while place < len(text) and text[place] in " \t":
            place += 1
        if place == len(text) or text[place] == "#":
            return words
        word, place = _word(text, place)
        words.append(word)


def _word(text: str, place: int) -> tuple[str, int]:
    word, quote = "", ""
    while place < len(text):
        mark, after = text[place], text[place + 1 : place + 2]
        if mark == "\\" and after and (after in "'\"\\" or (after == " " and not quote)):
            word += after
            place += 1
        elif not quote and mark in " \t":
            break
        elif not quote and mark in "'\"":
            quote = mark
        elif mark == quote:
            quote = ""
        else:
            word += mark
        place += 1
    if quote:
        raise ValueError("a quotation mark is not closed")
    return word, place


def matches(text: str, pattern: str) -> bool:
    """Whether the whole text fits a pattern of `*` (any run) and `?` (one character).

    Takes at most len(text) x len(pattern) steps, so that no pattern of a file can hold up the server.
    """
    place = read = 0
    star = back = -1
    while place < len(text):
        if read < len(pattern) and pattern[read] == "*":
            star, back = read, place
            read += 1
        elif read < len(pattern) and pattern[read] in ("?", text[place]):
            place, read = place + 1, read + 1
        elif star >= 0:
            back += 1
            place, read = back, star + 1
        else:
            return False
    return not pattern[read:].strip("*")


def matches_any(text: str, patterns: list[str]) -> bool:
    """Whether one of the patterns fits and none that begins with `!` does."""
    if any(matches(text, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(matches(text, pattern) for pattern in patterns if not pattern.startswith("!"))


def seconds(text: str) -> str:
    """A time as `1h30m` in seconds (sshd_config(5), TIME FORMATS); `none` stays. ValueError if it is none."""
    if text.lower() == "none":
        return "none"
    if _TIME.fullmatch(text) is None:
        raise ValueError(text)
    return str(sum(int(count) * _UNITS[unit] for count, unit in _TIME_PART.findall(text.lower())))
