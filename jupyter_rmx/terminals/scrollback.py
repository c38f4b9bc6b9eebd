"""What a terminal has shown, as raw bytes, cut at safe places (source: ECMA-48, xterm's control sequences)."""

from __future__ import annotations

import re

LIMIT = 1024 * 1024
"""Bytes that are kept; up to `SLACK` more are there between two cuts."""
SLACK = 64 * 1024
RESET = b"\x1bc"
"""RIS: who is shown the same twice, after a reconnect, sees it once."""

# A string (OSC, DCS, SOS, PM, APC) ends by its terminator, or is given up by CAN, SUB or the ESC of another sequence.
_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*[ -/]*[@-~]"
    rb"|\][^\x07\x18\x1a\x1b]*(?:[\x07\x18\x1a]|\x1b\\|(?=\x1b))"
    rb"|[PX^_][^\x18\x1a\x1b]*(?:[\x18\x1a]|\x1b\\|(?=\x1b))"
    rb"|[ -/]*[0-OQ-WYZ\\`-~]"
    rb")"
)
# What a program asks the terminal: asked again in a replay, the answer would be typed into whatever runs now.
_QUERY = re.compile(
    rb"\x05|\x1bZ"
    rb"|\x1b\[[>=?]?[0-9;]*[cn]"
    rb"|\x1b\[\??[0-9;]*\$p"
    rb"|\x1b\[>[0-9]*q|\x1b\[\?u"
    rb"|\x1b\[[0-9;]*x"
    rb"|\x1b\[(?:1[1-9]|2[01])t"
    rb"|\x1b\][0-9]+;(?:[0-9]+;)?\?(?:\x07|\x1b\\)"
    rb"|\x1bP[+$]q[^\x18\x1a\x1b]*\x1b\\"
)
_MODE = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")
_COLOUR_RESET = re.compile(rb"\x1b\[0*(?:;.*)?m")
# Modes that a program switches on once and counts on later: keys, screen, mouse, focus, bracketed paste.
_STICKY = frozenset({1, 6, 7, 25, 47, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004})
_SCREENS = frozenset({47, 1047, 1049})
_COLOURS_MAX = 32


class _Modes:
    """What a stream of bytes leaves switched on."""

    def __init__(self) -> None:
        self.on: dict[int, bool] = {}
        self._colours: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take note of a sequence, or of bytes that hold whole ones."""
        for match in _SEQUENCE.finditer(data):
            self._take(match.group())

    def _take(self, sequence: bytes) -> None:
        if sequence == RESET:
            self.on.clear()
            self._colours.clear()
        elif (mode := _MODE.fullmatch(sequence)) is not None:
            numbers = {int(one) for one in mode.group(1).split(b";") if one}
            self.on.update(dict.fromkeys(numbers & _STICKY, mode.group(2) == b"h"))
        elif _COLOUR.fullmatch(sequence) is not None:
            if _COLOUR_RESET.fullmatch(sequence) is not None:
                self._colours.clear()
            self._colours = [*self._colours, sequence][-_COLOURS_MAX:]

    def text(self) -> bytes:
        """The sequences that switch a fresh terminal to the same."""
        switched = (b"\x1b[?%d%s" % (mode, b"h" if on else b"l") for mode, on in self.on.items())
        return b"".join([*switched, *self._colours])

    @property
    def full_screen(self) -> bool:
        """The second screen is shown, as editors and pagers do."""
        return any(self.on.get(mode, False) for mode in _SCREENS)

    def copy(self) -> _Modes:
        """The same, to go on from."""
        other = _Modes()
        other.on = dict(self.on)
        other._colours = list(self._colours)
        return other


def safe_cut(data: bytes, at: int) -> int:
    """The first place from `at` on that is inside no escape sequence and no UTF-8 character; `data` begins at one."""
    for match in _SEQUENCE.finditer(data):
        if match.start() >= at:
            break
        at = max(at, match.end())
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


def whole_characters(data: bytes) -> tuple[bytes, bytes]:
    """`data` without a UTF-8 character that is not complete at its end, and that beginning of a character."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return (data[:-back], data[-back:]) if length > back else (data, b"")
    return data, b""


class Scrollback:
    """The last `limit` bytes that a terminal showed, and the modes that were switched on before them."""

    def __init__(self, limit: int = LIMIT, slack: int = SLACK) -> None:
        self._limit = limit
        self._slack = slack
        self._data = bytearray()
        self._before = _Modes()

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        """Keep `data`, which ends with a whole character."""
        self._data += data
        excess = len(self._data) - self._limit
        if excess > self._slack:
            data = bytes(self._data)
            cut = safe_cut(data, excess)
            self._before.feed(data[:cut])
            del self._data[:cut]

    def replay(self) -> bytes:
        """All that brings a terminal, fresh or not, to the same screen; no question of a program is asked again."""
        return RESET + self._before.text() + _QUERY.sub(b"", bytes(self._data))

    def full_screen(self) -> bool:
        """The program there has the second screen: it can paint it again, which the bytes alone may not bring back."""
        modes = self._before.copy()
        modes.feed(bytes(self._data))
        return modes.full_screen
