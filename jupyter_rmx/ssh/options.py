"""`-o` options: their keys, which of them outlive a session, and paths of identities."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from jupyter_rmx.models import SSHTarget

_CONTROL_SOCKET = frozenset({"controlmaster", "controlpath", "controlpersist"})
_KEY = re.compile(r"[^\s=]*")
_BETWEEN = re.compile(r"\s*=?\s*")
_QUOTED = re.compile(r'"([^"]*)"|\'([^\']*)\'')


def split_option(option: str) -> tuple[str, str]:
    """Key in lower case and value of `Key=Value` or `Key Value`; a value in quotes comes without them."""
    option = option.strip()
    key = _KEY.match(option)
    assert key is not None
    value = option[key.end() :]
    between = _BETWEEN.match(value)
    assert between is not None
    value = value[between.end() :].strip()
    quoted = _QUOTED.fullmatch(value)
    if quoted is not None:
        value = quoted[1] if quoted[1] is not None else quoted[2]
    return key[0].lower(), value


def durable_options(options: Iterable[str]) -> tuple[str, ...]:
    """The options that mean something in another process: trimmed, in order, without blanks and control sockets.

    Options inside a ProxyCommand are left alone (vectors `durable_options`).
    """
    trimmed = (option.strip() for option in options)
    return tuple(one for one in trimmed if one and split_option(one)[0] not in _CONTROL_SOCKET)


def normalize_identity_path(path: str | None, home: str) -> str | None:
    """The path of a key file with `~` expanded to `home`; None if it is blank. `~user` is left for ssh."""
    path = (path or "").strip()
    if not path:
        return None
    return expand_home(path, home)


def expand_home(path: str, home: str) -> str:
    """`~` and `~/…` of this user."""
    if path == "~":
        return home
    return f"{home.rstrip('/')}/{path[2:]}" if path.startswith("~/") else path


def durable_target(target: SSHTarget, *, home: str) -> SSHTarget:
    """What is stored of a target: trimmed, `~` expanded, without the options of a control socket."""
    paths = (normalize_identity_path(path, home) for path in target.identity_files)
    return replace(
        target,
        destination=target.destination.strip(),
        identity_files=tuple(path for path in paths if path is not None),
        config_file=normalize_identity_path(target.config_file, home),
        options=durable_options(target.options),
    )
