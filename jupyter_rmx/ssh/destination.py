"""`[user@]host`, `[user@]host:port` and `ssh://[user@]host[:port]`, checked before they reach any command.

OpenSSH hands user and host to shells (ProxyCommand, Match exec), so what a shell would act on is refused here, as
OpenSSH itself does since 9.6 (ssh.c, `valid_hostname` and `valid_ruser`; CVE-2023-51385).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from jupyter_rmx.errors import UsageError

FORMS = "A target looks like gpu01, me@host:2200, ssh://me@host:2200 or a whole line: ssh -p 2200 me@host"
_BAD_HOST = frozenset("'`\"$\\;&<>|(){}/#?*!,@[]")
_BAD_USER = frozenset("'`\";&<>|(){}$*?")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.ASCII | re.DOTALL)
_ZONE = re.compile(r"(?:%[A-Za-z0-9_.~-]+)?", re.ASCII)


def bad_target(message: str, hint: str = FORMS) -> UsageError:
    """The error of everything that is not a target; `message` holds nothing that could be a secret."""
    return UsageError(message, hint=hint, code="usage_bad_target", details={"field": "target"})


def shown(text: str, limit: int = 60) -> str:
    """Foreign text for one line of a message: printable, quoted, not endless."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


@dataclass(frozen=True)
class Destination:
    """A host, with the user and the port if they were written; an IPv6 address has no brackets."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """`[user@]host`, as an SSHTarget holds it."""
        return self.host if self.user is None else f"{self.user}@{self.host}"


def parse_port(text: str) -> int:
    """1 to 65535; leading zeros are fine, as for ssh. UsageError `usage_bad_target` otherwise."""
    if _PORT.fullmatch(text) is None or not 1 <= int(text) <= 65535:
        # Not shown: `sshpass -p SECRET …` is read as a host with a port.
        raise bad_target("The port is not a whole number from 1 to 65535.")
    return int(text)


def parse_destination(text: str, *, port_may_follow: bool) -> Destination:
    """Read one destination; UsageError `usage_bad_target` if it is none.

    port_may_follow
        True where a person names a machine or a jump host: `host:2200` is a port. False for the word of an `ssh`
        command line, where OpenSSH takes the colon for a part of the name: that is never a host, so it is refused
        with the form that works.
    """
    text = text.strip(" \t\r\n")
    uri = _URI.fullmatch(text)
    if uri is not None:
        return _of_uri(uri[1].lower(), uri[2])
    user, at, rest = text.rpartition("@")
    host, port = _host_and_port(rest)
    if port is not None and not port_may_follow:
        raise bad_target(
            f"ssh would take {shown(rest)} for the name of a host.",
            f"Write the port as an option: ssh -p {port} {user}{at}{host}",
        )
    return Destination(checked_host(host), checked_user(user) if at else None, port)


def _of_uri(scheme: str, rest: str) -> Destination:
    if scheme != "ssh":
        raise bad_target(f"{shown(scheme, 20)} is not a scheme for a machine.")
    rest = rest.removesuffix("/")
    user, at, place = rest.rpartition("@")
    host, port = _host_and_port(place)
    # RFC 3986 percent-encoding; `;params` behind the user (draft-ietf-secsh-scp-sftp-ssh-uri) is ignored, as by ssh.
    name = checked_user(unquote(user.partition(";")[0])) if at else None
    # The `%` of an IPv6 zone is no percent-encoding where the address is in brackets.
    return Destination(checked_host(host if place.startswith("[") else unquote(host)), name, port)


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        address, closed, behind = text[1:].partition("]")
        whole = ":" not in address or _is_ipv6(address)  # `ssh -G` writes a jump host as [10.0.0.1]:22, too
        if not closed or not whole or (behind and not behind.startswith(":")):
            raise bad_target(f"{shown(text)} is not an address in brackets.")
        return address, parse_port(behind[1:]) if behind else None
    if text.count(":") > 1:
        if _is_ipv6(text):
            return text, None
        # `2001:db8:0:0:0:0:0:1:2200`: too long for an address, so the last part is the port.
        host, _, port = text.rpartition(":")
        if not _is_ipv6(host):
            raise bad_target(f"{shown(text)} is neither an IPv6 address nor a host with a port.")
        return host, parse_port(port)
    host, colon, port = text.partition(":")
    return host, parse_port(port) if colon else None


def _is_ipv6(text: str) -> bool:
    address, mark, zone = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return _ZONE.fullmatch(mark + zone) is not None


def is_address(host: str) -> bool:
    """An IP address of either kind, written out."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return _is_ipv6(host)
    return True


def checked_host(host: str) -> str:
    """`host`, if it can be one."""
    if not host:
        raise bad_target("The name of the host is missing.")
    if host.startswith("-"):
        raise bad_target(
            f"{shown(host)} begins with '-', so it is no host.", "To give options, paste the whole ssh line."
        )
    tokens = "%" in host and not _is_ipv6(host)  # only an IPv6 zone may hold what ssh expands
    if tokens or not _plain(host) or _BAD_HOST & set(host) or any(mark.isspace() for mark in host):
        raise bad_target(f"{shown(host)} is not the name of a host.")
    return host


def checked_user(user: str, *, colon: bool = False) -> str:
    """`user`, if it can be one; a password in it is refused without being shown.

    `colon`: it came by -l, where nobody writes a password; some gateways want `me@host:SSH:root` for a user.
    """
    if ":" in user and not colon:
        raise bad_target(
            "There is a ':' in the user's name; a password does not belong into an address.",
            "Leave it out: the server asks for it when you connect.",
        )
    if not user:
        raise bad_target("The user's name before '@' is missing.")
    bad_end = user.endswith("\\") or re.search(r"\\\s", user) is not None
    if user.startswith("-") or not _plain(user) or _BAD_USER & set(user) or bad_end or user != user.strip():
        raise bad_target(f"{shown(user)} is not the name of a user.")
    return user


def _plain(text: str) -> bool:
    """No control characters, no half of a surrogate pair, nothing that a terminal would not show."""
    return text.isprintable()
