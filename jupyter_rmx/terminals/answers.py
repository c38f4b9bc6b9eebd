"""Which keys are typed, and which are a terminal's own answers to a program (source: xterm's control sequences)."""

from __future__ import annotations

import re

# Device attributes, reports of status, position, modes and size, colours, settings. Shift+F3 and its like look as a
# report of a position in the first row (CSI 1 ; 2-8 R), and are keys.
_ANSWERS = re.compile(
    r"(?:\x1b\[[?>=][0-9;]*c"
    r"|\x1b\[(?!1;[2-8]R)\??[0-9]+;[0-9]+(?:;[0-9]+)?R"
    r"|\x1b\[[0-9]+n"
    r"|\x1b\[\?[0-9;]+\$y"
    r"|\x1b\[[0-9]+;[0-9]+;[0-9]+t"
    r"|\x1b\][0-9]+;[^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1bP[^\x1b]*\x1b\\)+"
)


def is_answer(text: str) -> bool:
    """True for what a viewer's terminal says by itself: of several viewers only one may."""
    return text.startswith("\x1b") and _ANSWERS.fullmatch(text) is not None
