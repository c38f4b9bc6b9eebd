"""Which headers an app sees, and which a browser sees (design.md § 3.2).

Headers are `(name, value)` pairs of bytes in the order of arrival, duplicates included. To the app every request
looks as if a browser on the machine had asked `http://localhost:<port>`; what is Jupyter's or ours stays behind.
What is not named here passes byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from jupyter_rmx.loopback.alias import Alias, Layout, is_loopback_host, loopback_netloc, parse_alias_host

Headers = list[tuple[bytes, bytes]]

# RFC 9110 § 7.6.1; `Trailer` is not among them, since trailers are passed on.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
# A `Connection` header may name further ones, but not those that say where a message goes or where it ends.
_NEVER_BY_NAME = frozenset({b"host", b"content-length", b"cookie", b"origin"})
_JUPYTER_COOKIE = re.compile(rb"_xsrf|username-.*|jupyterhub-.*|__Host-rmx-.*", re.DOTALL)
_OUR_SCHEME = re.compile(rb"\s*(?:token|rmx)(?:\s|$)", re.IGNORECASE)
_URL = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
RESERVED = "/__rmx__/"


@dataclass(frozen=True)
class Front:
    """The alias host that a request came in by: what `Host` said, taken apart.

    `front_port` is the text after the colon (Jupyter's own port as the browser sees it), empty for the default one.
    """

    alias: Alias
    front_port: str
    alias_domain: str
    layout: Layout = "nested"

    @classmethod
    def of_host(cls, host: str, alias_domain: str, layout: Layout = "nested") -> Front | None:
        """The front that a `Host` header names, or None if it is no alias host."""
        alias = parse_alias_host(host, alias_domain, layout)
        return None if alias is None else cls(alias, host.partition(":")[2], alias_domain, layout)

    @property
    def is_own_site(self) -> bool:
        """True where browsers take the machine for a site of its own, so that `same-site` means the same machine."""
        return self.layout == "nested" and self.alias_domain == "localhost"

    def sibling(self, netloc: str) -> Alias | None:
        """The alias that `netloc` (`host[:port]`) names, if it is one of the same machine on the same front."""
        alias = parse_alias_host(netloc, self.alias_domain, self.layout)
        if alias is None or alias.machine != self.alias.machine:
            return None
        return alias if netloc.partition(":")[2] == self.front_port else None


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All values of one header, in order; `name` in lower case."""
    return [value for key, value in headers if key.lower() == name]


def first(headers: Headers, name: bytes) -> bytes:
    """The first value of one header, or nothing."""
    return next(iter(values(headers, name)), b"")


def cookies(headers: Headers, name: bytes) -> list[bytes]:
    """All values that the browser sent for one cookie."""
    found = []
    for line in values(headers, b"cookie"):
        for piece in line.split(b";"):
            key, _, value = piece.strip().partition(b"=")
            if key == name:
                found.append(value)
    return found


def origin_allowed(origin: bytes, front: Front) -> bool:
    """True if `Origin` is an alias of the same machine on the same front; `null` is nobody's."""
    match = _URL.fullmatch(origin)
    return match is not None and not match[3] and front.sibling(match[2].decode("latin-1")) is not None


def referred_by_machine(headers: Headers, front: Front) -> bool:
    """True if `Referer` names a page of the same machine."""
    match = _URL.match(first(headers, b"referer"))
    return match is not None and front.sibling(match[2].decode("latin-1")) is not None


def to_app(headers: Headers, front: Front) -> Headers:
    """The headers of a request as the app sees them, without hop-by-hop ones and without any that frame an upgrade."""
    dropped = _hop_by_hop(headers)
    seen: Headers = []
    for name, value in headers:
        key = name.lower()
        if key in dropped or (key == b"authorization" and _OUR_SCHEME.match(value)):
            continue
        if key == b"host":
            seen.append((name, loopback_netloc(front.alias).encode()))
        elif key in {b"origin", b"referer"}:
            seen.append((name, _named_by_app(value, front)))
        elif key == b"cookie":
            kept = _app_cookies(value)
            if kept:
                seen.append((name, kept))
        else:
            seen.append((name, value))
    return seen


def to_browser(headers: Headers) -> Headers:
    """The headers of an answer as the browser sees them.

    A length that stands beside `Transfer-Encoding` is dropped with it (RFC 9112 § 6.3): the coding has decided.
    """
    dropped = _hop_by_hop(headers)
    if values(headers, b"transfer-encoding"):
        dropped |= {b"content-length"}
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def is_websocket(headers: Headers) -> bool:
    """True if the request asks to become a WebSocket."""
    asks = any(b"upgrade" in _tokens(value) for value in values(headers, b"connection"))
    return asks and any(b"websocket" in _tokens(value) for value in values(headers, b"upgrade"))


def local_path(path: str) -> str | None:
    """`path` if a redirect to it stays on this origin: it begins with exactly one slash and no byte is odd."""
    if not path.startswith("/") or path[1:2] in {"/", "\\"}:
        return None
    return path if all(" " < char < "\x7f" for char in path) else None


def _tokens(value: bytes) -> set[bytes]:
    return {token.strip().lower() for token in value.split(b",")}


def _hop_by_hop(headers: Headers) -> frozenset[bytes]:
    named: set[bytes] = set()
    for value in values(headers, b"connection"):
        named |= _tokens(value)
    return HOP_BY_HOP | (named - _NEVER_BY_NAME)


def _app_cookies(line: bytes) -> bytes:
    pieces = line.split(b";")
    kept = [piece for piece in pieces if not _is_jupyters(piece)]
    return line if len(kept) == len(pieces) else b";".join(kept).strip()


def _is_jupyters(piece: bytes) -> bool:
    return _JUPYTER_COOKIE.fullmatch(piece.partition(b"=")[0].strip()) is not None


def _named_by_app(url: bytes, front: Front) -> bytes:
    """An `Origin` or `Referer` in the words of the machine.

    An alias of this machine becomes its own loopback address. Jupyter's own pages are named by their origin only,
    since their query may hold a token. Any other URL passes.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    scheme, netloc, rest = match[1], match[2].decode("latin-1"), match[3]
    alias = front.sibling(netloc)
    if alias is not None:
        path = b"/" if rest.startswith(RESERVED.encode()) else rest
        return b"http://" + loopback_netloc(alias).encode() + path
    if rest and _is_jupyter(netloc, front):
        return scheme + b"://" + match[2] + b"/"
    return url


def _is_jupyter(netloc: str, front: Front) -> bool:
    try:
        parts = urlsplit(f"//{netloc}")
        port = "" if parts.port is None else str(parts.port)
    except ValueError:
        return False
    return port == front.front_port and is_loopback_host(parts.hostname or "")
