"""`%h`, `~` and `${NAME}` in the values of ssh_config (ssh_config(5), TOKENS and ENVIRONMENT VARIABLES)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jupyter_rmx.errors import UsageError
from jupyter_rmx.ssh.options import expand_home

if TYPE_CHECKING:
    from jupyter_rmx.ssh.resolved import Resolved

_TOKEN = re.compile(r"%(.?)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def expand_tokens(text: str, values: Mapping[str, str]) -> str:
    """Replace each `%x` by `values["x"]` and `%%` by `%`; UsageError `usage_bad_ssh_config` for one not in `values`."""

    def value(found: re.Match[str]) -> str:
        letter = found[1]
        if letter == "%":
            return "%"
        if letter not in values:
            raise _bad(f"%{letter} means nothing in {text[:60]!r}.")
        return values[letter]

    return _TOKEN.sub(value, text)


def proxy_tokens(resolved: Resolved) -> dict[str, str]:
    """What ProxyCommand and ProxyJump may hold: `%h %n %p %r`."""
    return {
        "h": resolved.hostname,
        "n": resolved.host or resolved.hostname,
        "p": str(resolved.port),
        "r": resolved.user,
    }


def path_tokens(
    resolved: Resolved, *, home: str, local_user: str, local_host: str, uid: int
) -> dict[str, str]:
    """What IdentityFile, CertificateFile, IdentityAgent, UserKnownHostsFile and RemoteCommand may hold, but for %C.

    `local_host` is the name of this computer with its domain, if it has one.
    """
    return proxy_tokens(resolved) | {
        "d": home,
        "i": str(uid),
        "k": resolved.host_key_alias or resolved.host or resolved.hostname,
        "L": local_host.partition(".")[0],
        "l": local_host,
        "u": local_user,
    }


def expand_proxy_command(command: str, resolved: Resolved) -> str:
    """The command line of ProxyCommand for the user's shell, `%h %n %p %r` filled in.

    Host and user were checked for what a shell acts on when the target was read (destination).
    """
    return expand_tokens(command, proxy_tokens(resolved))


def expand_path(path: str, values: Mapping[str, str], *, home: str, environ: Mapping[str, str]) -> str:
    """A path of ssh_config for `open`: `~`, then `${NAME}`, then tokens.

    UsageError `usage_bad_ssh_config` for a variable that is not set or a token that is not in `values`.
    """

    def variable(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise _bad(f"The variable {found[1][:60]!r} of ssh_config is not set.")
        # `%` of a value is no token.
        return environ[found[1]].replace("%", "%%")

    return expand_tokens(_VARIABLE.sub(variable, expand_home(path, home.replace("%", "%%"))), values)


def _bad(message: str) -> UsageError:
    return UsageError(message, hint="Correct it in your ssh_config.", code="usage_bad_ssh_config")
