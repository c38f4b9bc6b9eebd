"""Grammar of alias hosts (design.md § 3.1), from a browser host name to the port of a machine that it means.

    nested   [<sub>.]p<port>.<label>.<alias_domain>
    flat     [<sub>.]p<port>--<label>.<alias_domain>

`port` is 1 to 65535 in ASCII digits without leading zero; `label` is 1 to 49 of a-z, 0-9 and `-`, with no `--` and no
hyphen at an end. Names are compared without case; one trailing dot and a `:port` are allowed. Which machine a label
means is a look-up in a table, not grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Layout = Literal["nested", "flat"]

_LABEL = r"(?!-)(?!.*--)[a-z0-9-]{1,49}(?<!-)"
_SUB_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_LABEL_RE = re.compile(_LABEL, re.ASCII)
_SUB_RE = re.compile(rf"{_SUB_LABEL}(?:\.{_SUB_LABEL})*", re.ASCII)
_PORT_RE = re.compile(r"p([1-9][0-9]{0,4})", re.ASCII)
_HOST_PORT_RE = re.compile(r"(?P<host>[^:]*)(?::(?P<port>[0-9]{0,5}))?", re.ASCII)
_LOOPBACK_V4 = re.compile(r"127(?:\.[0-9]{1,3}){3}|0\.0\.0\.0", re.ASCII)


@dataclass(frozen=True)
class Alias:
    """One alias host, taken apart. `sub` is empty, or the labels before `p<port>` as in `api.localhost`."""

    port: int
    machine: str
    sub: str = ""

    def host(self, alias_domain: str, layout: Layout = "nested") -> str:
        """The host name that a browser uses."""
        glue = "." if layout == "nested" else "--"
        head = f"{self.sub}." if self.sub else ""
        return f"{head}p{self.port}{glue}{self.machine}.{alias_domain}"


def _without_port(host: str) -> str | None:
    match = _HOST_PORT_RE.fullmatch(host)
    if match is None:
        return None
    name = match["host"].lower()
    return name.removesuffix(".")


def _split_alias_labels(rest: str, layout: Layout) -> tuple[str, str, str] | None:
    """`(sub, p<port>, label)` of the part in front of the alias domain."""
    labels = rest.split(".")
    if layout == "nested":
        if len(labels) < 2:
            return None
        return ".".join(labels[:-2]), labels[-2], labels[-1]
    port, glue, label = labels[-1].partition("--")
    return (".".join(labels[:-1]), port, label) if glue else None


def parse_alias_host(host: str, alias_domain: str, layout: Layout = "nested") -> Alias | None:
    """The alias that a `Host` header names, or None if it is not an alias host."""
    name = _without_port(host)
    suffix = "." + alias_domain.lower()
    if name is None or not name.endswith(suffix):
        return None
    parts = _split_alias_labels(name[: -len(suffix)], layout)
    if parts is None:
        return None
    sub, port_label, label = parts
    port = _PORT_RE.fullmatch(port_label)
    if port is None or int(port[1]) > 65535 or _LABEL_RE.fullmatch(label) is None:
        return None
    if sub and _SUB_RE.fullmatch(sub) is None:
        return None
    return Alias(int(port[1]), label, sub)


def is_below_alias_domain(host: str, alias_domain: str) -> bool:
    """True for every host below the alias domain, well-formed or not: such a host is never Jupyter's own."""
    name = _without_port(host)
    return name is not None and name.endswith("." + alias_domain.lower())


def is_loopback_host(host: str) -> bool:
    """True for 127.0.0.0/8, ::1, 0.0.0.0, `localhost` and names below it (RFC 6761 § 6.3); no port, no brackets."""
    name = host.lower().rstrip(".")
    if name in {"localhost", "::1", "0:0:0:0:0:0:0:1"} or name.endswith(".localhost"):
        return True
    return _LOOPBACK_V4.fullmatch(name) is not None and all(int(part) <= 255 for part in name.split("."))


def alias_url(
    label: str, port: int, path: str, *, origin: str, alias_domain: str, layout: Layout = "nested"
) -> str:
    """The browser URL of `path` on a machine's port, on the scheme and port of Jupyter's own `origin`."""
    front = urlsplit(origin)
    host = Alias(port, label).host(alias_domain, layout)
    netloc = f"{host}:{front.port}" if front.port is not None else host
    head, _, fragment = path.partition("#")
    target, _, query = head.partition("?")
    return urlunsplit((front.scheme, netloc, target or "/", query, fragment))
