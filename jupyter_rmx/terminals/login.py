"""The line that gives a shell on a machine its colours and its UTF-8. No I/O."""

from __future__ import annotations

# An SSH server may drop `env` requests (OpenSSH: AcceptEnv), and text typed into the shell would be seen. So the
# terminal runs one command instead of "the shell": it sets what is missing and becomes the login shell. Its text must
# mean the same to every login shell, csh and fish too: one line, single quotes, and in them no quote, backslash,
# exclamation mark or newline. `locale charmap` is asked first, since a locale may be named that is not installed (fish
# does that); one of these spoils the others, so `LANG` goes where `locale` complains. A server shows its message of the day only where no command is run, so that is here too.
_SCRIPT = """
COLORTERM=truecolor; export COLORTERM;
c=$(locale charmap 2>/dev/null); case ${c:-${LC_ALL:-${LC_CTYPE:-$LANG}}} in
  *[Uu][Tt][Ff]8*|*[Uu][Tt][Ff]-8*) ;;
  *)
    LC_CTYPE=;
    for l in $(locale -a 2>/dev/null); do
      case $l in
        C.[Uu][Tt][Ff]8|C.[Uu][Tt][Ff]-8) LC_CTYPE=$l; break ;;
        *.[Uu][Tt][Ff]8|*.[Uu][Tt][Ff]-8) LC_CTYPE=${LC_CTYPE:-$l} ;;
      esac;
    done;
    LC_CTYPE=${LC_CTYPE:-C.UTF-8}; export LC_CTYPE;
    if [ -n "$LC_ALL" ]; then LANG=$LC_ALL; export LANG; unset LC_ALL; fi;
    if [ -n "$(locale 2>&1 >/dev/null)" ]; then LANG=$LC_CTYPE; export LANG; fi ;;
esac;
[ -z "$SSH_CONNECTION" ] || [ -e "$HOME/.hushlogin" ] || cat /run/motd.dynamic /etc/motd 2>/dev/null;
SHELL=${SHELL:-/bin/sh}; export SHELL;
case ${SHELL##*/} in
  sh|ash|bash|csh|dash|fish|ksh*|mksh|nu|tcsh|xonsh|yash|zsh) exec "$SHELL" -l ;;
  *) exec "$SHELL" ;;
esac
"""

LOGIN = f"exec /bin/sh -c '{' '.join(_SCRIPT.split())}'"
"""Becomes the user's login shell with `COLORTERM`, and with a UTF-8 locale where there was none."""
