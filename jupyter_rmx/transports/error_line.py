"""The one line of a program's output that says why it failed (vectors errors.json)."""

from __future__ import annotations

import re

# What OpenSSH says beside the reason.
_NOISE = re.compile(
    r"warning: permanently added|debug\d*:|transferred:|openbsd_|pseudo-terminal will not be allocated",
    re.IGNORECASE,
)


def best_error_line(stderr: str, stdout: str = "") -> str | None:
    """The last line of `stderr` that is no noise of OpenSSH's, else its last line, else that of `stdout`; or None."""
    return _best(stderr) or _best(stdout)


def _best(text: str) -> str | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if _NOISE.match(line) is None]
    return next(iter(reversed(told or lines)), None)
