"""Which shell reads a command on a server, and how it is told: fish and csh do not speak sh. No I/O.

The first command on a connection goes to the login shell as one line that means the same in every shell; it becomes
/bin/sh and reads the rest from standard input. A login shell of the POSIX family then runs the command itself, as
`ssh HOST CMD` would have it, and says so, so that later commands go to it directly: one process less. Under any other
login shell /bin/sh runs the command.

Before the command each stream shows a mark (`ssh_group.StartMarker`); what comes earlier is noise of the profile.
"""

from __future__ import annotations

import shlex
from typing import Literal

from jupyter_rmx.transports.ssh_command import ShellText, one_line
from jupyter_rmx.transports.ssh_group import StartMarker

LoginShell = Literal["posix", "zsh"]
"""A login shell that takes our text directly; zsh reads all of a text before it runs any."""

# Without newline, backslash, `!` and inner single quote: one word of it means the same in sh, fish and csh.
_BECOME_SH = "exec /bin/sh -c 'IFS= read -r RMX_LINE && eval \"$RMX_LINE\"'"
# dropbear has all commands of a connection in its own process group: a signal to it would end the connection.
_OWN_GROUP = (
    "RMX_OWN=; kill -0 -$$ 2>/dev/null && RMX_OWN=1"
    " || ! command -v setsid >/dev/null 2>&1"
    " || exec setsid /bin/sh -c 'IFS= read -r RMX_LINE && eval \"$RMX_LINE\"'"
    '; IFS= read -r RMX_LINE; eval "$RMX_LINE"'
)
_RUN_ZSH = 'export RMX_TEXT; exec "$SHELL" -c "$RMX_MARK${RMX_NL}eval \\"unset RMX_TEXT; \\$RMX_TEXT\\""'
_POSIX = "bash|dash|ash|sh|ksh|ksh93|mksh|lksh|oksh|pdksh|yash"


def direct(shell: LoginShell, marker: StartMarker, what: ShellText) -> ShellText:
    """For a login shell that is known."""
    if shell == "zsh":
        return ShellText(f"{marker.shell_line()}\neval {shlex.quote(what.text)}", what.preamble)
    return ShellText(f"{marker.shell_line()}\n{what.text}", what.preamble)


def through_sh(marker: StartMarker, what: ShellText) -> ShellText:
    """For a login shell that is not known, or speaks another language."""
    tell = '[ -z "$RMX_OWN" ] || '
    zsh = f"zsh) {tell}{marker.shell_kind_line('zsh')}; {_RUN_ZSH};;"
    posix = (
        f'{_POSIX}) {tell}{marker.shell_kind_line("posix")}; exec "$SHELL" -c "$RMX_MARK$RMX_NL$RMX_TEXT";;'
    )
    other = '*) exec /bin/sh -c "$RMX_MARK$RMX_NL$RMX_TEXT";;'
    steps = [
        # The default IFS is blank, tab, newline; a literal newline cannot stand in this line.
        "RMX_NL=${IFS#??}",
        f"RMX_MARK={one_line(marker.shell_line())}",
        f"RMX_TEXT={one_line(what.text)}",
        f"case ${{SHELL##*/}} in {zsh} {posix} {other} esac",
    ]
    lines = f"{_OWN_GROUP}\n{'; '.join(steps)}\n"
    return ShellText(_BECOME_SH, lines.encode() + what.preamble)


def login_shell(marker: StartMarker) -> LoginShell | None:
    """What the first command has told of the login shell; None if it takes no text of ours directly."""
    kinds: dict[str | None, LoginShell] = {"posix": "posix", "zsh": "zsh"}
    return kinds.get(marker.shell_kind)


def aside_text(command: str) -> str:
    """A short sh command of our own for any login shell; it has no quote, backslash, `!` or newline."""
    if not set(command).isdisjoint("'\\!\n"):
        raise ValueError(command)
    return f"exec /bin/sh -c '{command}'"
