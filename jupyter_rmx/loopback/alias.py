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
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from jupyter_rmx.errors import LoopbackError

Layout = Literal["nested", "flat"]

_LABEL = r"(?!-)(?!.*--)[a-z0-9-]{1,49}(?<!-)"
_SUB_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_LABEL_RE = re.compile(_LABEL, re.ASCII)
_SUB_RE = re.compile(rf"{_SUB_LABEL}(?:\.{_SUB_LABEL})*", re.ASCII)
_PORT_RE = re.compile(r"p([1-9][0-9]{0,4})", re.ASCII)
_HOST_PORT_RE = re.compile(r"(?P<host>[^:]*)(?::(?P<port>[0-9]{0,5}))?", re.ASCII)


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
    """True for every host below the alias domain, well-formed or not (also with a `:port` that is none).

    Such a host is never Jupyter's own, unless Jupyter was told that name.
    """
    name = host.partition(":")[0].lower().removesuffix(".")
    return name.endswith("." + alias_domain.lower())


def normalize_host(host: str) -> str:
    """The bare host name of a host as people and headers write it: lower case, no scheme, path, port or brackets."""
    name = host.strip().lower()
    name = name.partition("://")[2] or name
    name = re.split(r"[/?#]", name, maxsplit=1)[0]
    if name.startswith("["):
        return name[1:].partition("]")[0]
    if name.count(":") == 1:
        name = name.partition(":")[0]
    return name.rstrip(".")


def is_loopback_host(host: str) -> bool:
    """True for names and addresses that lead to this computer; no port, no brackets.

    `localhost` and names below it (RFC 6761 § 6.3), 127.0.0.0/8, ::1, the unspecified addresses 0.0.0.0 and ::, and
    the IPv4-mapped forms of these.
    """
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    plain = getattr(address, "ipv4_mapped", None) or address
    return plain.is_loopback or plain == IPv4Address(0) or plain == IPv6Address(0)


def alias_url(
    label: str,
    port: int,
    path: str,
    *,
    origin: str,
    alias_domain: str,
    layout: Layout = "nested",
    sub: str = "",
) -> str:
    """The browser URL of `path` on a machine's port, on the scheme and port of Jupyter's own `origin`."""
    front = urlsplit(origin)
    host = Alias(port, label, sub).host(alias_domain, layout)
    netloc = f"{host}:{front.port}" if front.port is not None else host
    head, _, fragment = path.partition("#")
    target, _, query = head.partition("?")
    return urlunsplit((front.scheme, netloc, target or "/", query, fragment))


def open_url(
    label: str,
    port: int,
    path: str,
    ticket: str,
    *,
    origin: str,
    alias_domain: str,
    layout: Layout = "nested",
) -> str:
    """The URL that turns `ticket` into a cookie of the alias and then shows `path`. It is a secret.

    `origin` as for `check_front_origin`, which is asked first.
    """
    check_front_origin(origin, alias_domain)
    claim = f"/__rmx__/open?ticket={quote(ticket, safe='')}&path={quote(path, safe='')}"
    return alias_url(label, port, claim, origin=origin, alias_domain=alias_domain, layout=layout)


def check_front_origin(origin: str, alias_domain: str) -> str:
    """Return `origin`, Jupyter's own as the browser sees it (`http://localhost:8888`), if aliases work beside it.

    They do where the browser finds the alias domain on the same front: Jupyter under a loopback name (aliases below
    `localhost` then lead to the same computer), under the alias domain itself, or under a name below it. Raises
    LoopbackError `loopback_no_alias` otherwise.
    """
    parts = urlsplit(origin)
    host = (parts.hostname or "").rstrip(".")
    domain = alias_domain.lower()
    on_this_computer = is_loopback_host(host) and is_loopback_host(domain)
    if parts.scheme in {"http", "https"} and (
        on_this_computer or host == domain or is_below_alias_domain(host, domain)
    ):
        return origin
    raise LoopbackError(
        f"A machine's port cannot be shown beside a Jupyter that the browser reaches as {host or origin!r}.",
        hint="Open Jupyter at http://localhost:PORT, or bring it there with: ssh -L PORT:localhost:PORT HOST",
        code="loopback_no_alias",
        status=409,
        details={"origin": f"{parts.scheme}://{host}"},
    )


def loopback_url_to_alias(
    url: str, label: str, *, front_port: int, alias_domain: str, layout: Layout = "nested"
) -> str | None:
    """The alias URL that shows `http://localhost:<port>/…` of a machine; None for any other URL.

    `https:` and `ws:` are left alone: the first would not match its certificate, the second is never typed.
    """
    parts = _split_url(url)
    if parts is None or parts.scheme != "http" or not is_loopback_host(parts.hostname or ""):
        return None
    host = (parts.hostname or "").rstrip(".")
    sub = host.removesuffix(".localhost") if host.endswith(".localhost") else ""
    if sub and _SUB_RE.fullmatch(sub) is None:
        return None
    path = urlunsplit(("", "", parts.path or "/", parts.query, parts.fragment))
    return alias_url(
        label,
        parts.port or 80,
        path,
        origin=f"http://front:{front_port}",
        alias_domain=alias_domain,
        layout=layout,
        sub=sub,
    )


def alias_url_to_loopback(
    url: str, *, front_port: int, alias_domain: str, layout: Layout = "nested"
) -> str | None:
    """The address as the user thinks of it, `http://localhost:<port>/…`; None if `url` is no alias URL of this front."""
    parts = _split_url(url)
    if parts is None or parts.scheme not in {"http", "https"}:
        return None
    default = 443 if parts.scheme == "https" else 80
    alias = parse_alias_host(parts.hostname or "", alias_domain, layout)
    if alias is None or (parts.port or default) != front_port:
        return None
    return urlunsplit(("http", loopback_netloc(alias), parts.path, parts.query, parts.fragment))


def loopback_netloc(alias: Alias) -> str:
    """`localhost:<port>` as a browser on the machine would write it: port 80 is left out, a sub-label is kept."""
    host = f"{alias.sub}.localhost" if alias.sub else "localhost"
    return host if alias.port == 80 else f"{host}:{alias.port}"


def _split_url(url: str) -> SplitResult | None:
    """The parts of `url`, or None where it is not one that a browser would take."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0  # reading `port` raises for one that is not a port
    except ValueError:
        return None
    return parts if usable and parts.username is None else None
