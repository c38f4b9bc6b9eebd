"""What we say inside a terminal, in a line of its own."""

from __future__ import annotations

import re
from datetime import datetime

from jupyter_rmx.errors import RmxError

# Whatever was on the screen has lost its program: plain colours, the whole screen, and keys as a shell has them. None of
# these moves the cursor, which stands behind what was shown last.
CALM = (
    "\x1b[!p\x1b[0m\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b>"
)
FIRST_SCREEN = "\x1b[?1049l"
"""Back from an editor's screen, and the cursor to where it was; where there was none it would go home."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def line(text: str) -> str:
    """`text` set apart; nothing in it can steer the terminal."""
    return f"\r\n\x1b[0;7m {_CONTROLS.sub(' ', text).strip()} \x1b[0m\r\n"


def lost(machine: str, at: datetime, *, full_screen: bool) -> str:
    """The link broke, and is made again."""
    return (
        (FIRST_SCREEN if full_screen else "")
        + CALM
        + line(f"The connection to {machine} was lost at {_clock(at)}. Connecting again …")
    )


def new_shell(machine: str, at: datetime) -> str:
    """The link is back; what ran in the terminal is not."""
    return line(f"The connection to {machine} was lost at {_clock(at)}; this is a new shell.")


def given_up(machine: str, error: RmxError) -> str:
    """The link cannot be made again without the person."""
    said = " ".join(part for part in (error.message, error.hint) if part)
    return line(f"No connection to {machine}: {said} Press Enter to try again.")


def trying(machine: str) -> str:
    """The person asked for it."""
    return line(f"Connecting to {machine} …")


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M")
