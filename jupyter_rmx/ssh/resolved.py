"""What ssh would do for a target: the output of `ssh -G` as a value (ssh(1), ssh_config(5))."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from jupyter_rmx.errors import UsageError
from jupyter_rmx.ssh.destination import Destination
from jupyter_rmx.ssh.jump import parse_jump_chain
from jupyter_rmx.ssh.tokens import expand_tokens, proxy_tokens

HostKeyRule = Literal["ask", "accept-new", "yes", "no"]
Values = Mapping[str, Sequence[str]]
"""Keyword in lower case → its values as `ssh -G` writes them, one for each line."""


@dataclass(frozen=True)
class Resolved:
    """The settings of one connection.

    In identity_files, certificate_files, revoked_host_keys, known_hosts_command, proxy_command and proxy_jump `~`, `%h`
    and `${NAME}` are still to be expanded (tokens); in all others ssh has done it. Times are seconds, None where ssh would wait for ever (or ask nothing). A tuple is in the order in which ssh tries.
    """

    hostname: str
    port: int = 22
    user: str = ""
    """Empty where this ssh does not say it: the local user."""
    host: str = ""
    """The name as it was written, `%n`; "" where this ssh does not say it."""
    identity_files: tuple[str, ...] = ()
    """The user's, or ssh's default places if they named none; `none`: no key. Missing files are passed over."""
    certificate_files: tuple[str, ...] = ()
    identity_agent: str | None = None
    """Socket of the agent: a path, `$NAME` of a variable, `SSH_AUTH_SOCK`, or `none`; None: SSH_AUTH_SOCK."""
    identities_only: bool = False
    add_keys_to_agent: str = "false"
    proxy_jump: str | None = None
    proxy_command: str | None = None
    host_key_alias: str | None = None
    user_known_hosts_files: tuple[str, ...] = ()
    global_known_hosts_files: tuple[str, ...] = ()
    known_hosts_command: str | None = None
    revoked_host_keys: str | None = None
    strict_host_key_checking: HostKeyRule = "ask"
    hash_known_hosts: bool = False
    check_host_ip: bool = False
    no_host_authentication_for_localhost: bool = False
    verify_host_key_dns: str = "false"
    connect_timeout_s: int | None = None
    connection_attempts: int = 1
    alive_interval_s: int | None = None
    alive_count_max: int = 3
    tcp_keep_alive: bool = True
    address_family: Literal["any", "inet", "inet6"] = "any"
    bind_address: str | None = None
    bind_interface: str | None = None
    forward_agent: str = "no"
    """`yes`, `no`, or the socket to forward: a path or `$NAME`."""
    compression: bool = False
    preferred_authentications: tuple[str, ...] = ()
    """Empty: ssh's own order."""
    pubkey_authentication: bool = True
    password_authentication: bool = True
    kbdint_authentication: bool = True
    gssapi_authentication: bool = False
    hostbased_authentication: bool = False
    number_of_password_prompts: int = 3
    batch_mode: bool = False
    """True: nobody may be asked."""
    pkcs11_provider: str | None = None
    remote_command: str | None = None
    request_tty: str = "auto"
    """`auto`, `true`, `false` or `force`."""
    send_env: tuple[str, ...] = ()
    set_env: tuple[str, ...] = ()
    """`NAME=value` each."""
    ciphers: tuple[str, ...] = ()
    """Algorithms ssh would offer, best first; empty: not known, the library's own. The same for the four below."""
    macs: tuple[str, ...] = ()
    kex_algorithms: tuple[str, ...] = ()
    host_key_algorithms: tuple[str, ...] = ()
    pubkey_algorithms: tuple[str, ...] = ()

    @property
    def jump_hops(self) -> tuple[Destination, ...]:
        """The jump hosts as they are dialled, first one first, tokens filled in; empty where there is none.

        UsageError for a hop that cannot be read. Each has settings of its own: ask for them (jump.hop_target).
        """
        if self.proxy_jump is None or self.proxy_command is not None:
            return ()
        return parse_jump_chain(expand_tokens(self.proxy_jump, proxy_tokens(self)))

    @property
    def tcp_probe(self) -> tuple[str, int | None] | None:
        """Host and port that a connection dials first; None where a ProxyCommand does, so that nobody can tell.

        With jump hosts it is the first of them, as it is written.
        """
        if self.proxy_command is not None:
            return None
        hops = self.jump_hops
        return (hops[0].host, hops[0].port) if hops else (self.hostname, self.port)


def parse_ssh_G(text: str) -> Resolved:  # noqa: N802 - it reads `ssh -G`, not `ssh -g`
    """The output of `ssh -G` on stdout; UsageError `usage_bad_ssh_config` if it is none.

    Lines that are not known are passed over, and what is missing has ssh's default. A path with a blank in a list of
    known_hosts files cannot be told from two paths, since ssh writes them without quotes.
    """
    values: dict[str, list[str]] = {}
    for line in text.split("\n"):
        keyword, _, value = line.strip().partition(" ")
        values.setdefault(keyword.lower(), []).append(value.strip())
    return from_values(values)


def from_values(values: Values) -> Resolved:
    """Settings by keyword, written as `ssh -G` writes them, as a value."""
    found: dict[str, Any] = {}
    for keyword, (name, read) in _FIELDS.items():
        given = [value for value in values.get(keyword, ()) if value]
        if not given:
            continue
        try:
            value = read(given)
        except ValueError:
            raise _unreadable(f"ssh says '{keyword} {given[0][:40]}', which is not understood.") from None
        if value is not None:
            found[name] = value
    if "hostname" not in found:
        raise _unreadable("ssh did not say which host is meant.")
    return Resolved(**found)


def _unreadable(message: str) -> UsageError:
    return UsageError(
        message, hint="See what `ssh -G HOST` prints for this host.", code="usage_bad_ssh_config"
    )


def _text(given: Sequence[str]) -> str:
    return given[0]


def _unless_none(given: Sequence[str]) -> str | None:
    return None if given[0].lower() == "none" else given[0]


def _state(given: Sequence[str]) -> str:
    """A word of several, where `ssh -G` writes true and false for yes and no."""
    return {"yes": "true", "no": "false"}.get(given[0].lower(), given[0])


def _number(given: Sequence[str]) -> int:
    return int(given[0])


def _seconds(given: Sequence[str]) -> int | None:
    """`none` and 0 are no limit (ssh_config(5), ConnectTimeout and ServerAliveInterval)."""
    return None if given[0].lower() == "none" else int(given[0]) or None


def _yes(given: Sequence[str]) -> bool:
    # `pubkeyauthentication` may be `unbound` or `host-bound`, which are both a yes.
    return given[0].lower() not in {"no", "false", "off", "none"}


def _lines(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(given)


def _words(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in given[0].split() if word.lower() != "none")


def _commas(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(given[0].split(","))


def _rule(given: Sequence[str]) -> HostKeyRule:
    rules: dict[str, HostKeyRule] = {
        "accept-new": "accept-new",
        "ask": "ask",
        "true": "yes",
        "yes": "yes",
        "false": "no",
        "no": "no",
        "off": "no",
    }
    if given[0].lower() not in rules:
        raise ValueError(given[0])
    return rules[given[0].lower()]


def _family(given: Sequence[str]) -> str:
    if given[0].lower() not in {"any", "inet", "inet6"}:
        raise ValueError(given[0])
    return given[0].lower()


_FIELDS: dict[str, tuple[str, Callable[[Sequence[str]], Any]]] = {
    "addkeystoagent": ("add_keys_to_agent", _state),
    "addressfamily": ("address_family", _family),
    "batchmode": ("batch_mode", _yes),
    "bindaddress": ("bind_address", _unless_none),
    "bindinterface": ("bind_interface", _unless_none),
    "certificatefile": ("certificate_files", _lines),
    "checkhostip": ("check_host_ip", _yes),
    "ciphers": ("ciphers", _commas),
    "compression": ("compression", _yes),
    "connectionattempts": ("connection_attempts", _number),
    "connecttimeout": ("connect_timeout_s", _seconds),
    "forwardagent": ("forward_agent", _text),
    "globalknownhostsfile": ("global_known_hosts_files", _words),
    "gssapiauthentication": ("gssapi_authentication", _yes),
    "hashknownhosts": ("hash_known_hosts", _yes),
    "host": ("host", _text),
    "hostbasedauthentication": ("hostbased_authentication", _yes),
    "hostkeyalgorithms": ("host_key_algorithms", _commas),
    "hostkeyalias": ("host_key_alias", _unless_none),
    "hostname": ("hostname", _text),
    "identitiesonly": ("identities_only", _yes),
    "identityagent": ("identity_agent", _text),
    "identityfile": ("identity_files", _lines),
    "kbdinteractiveauthentication": ("kbdint_authentication", _yes),
    "kexalgorithms": ("kex_algorithms", _commas),
    "knownhostscommand": ("known_hosts_command", _unless_none),
    "macs": ("macs", _commas),
    "nohostauthenticationforlocalhost": ("no_host_authentication_for_localhost", _yes),
    "numberofpasswordprompts": ("number_of_password_prompts", _number),
    "passwordauthentication": ("password_authentication", _yes),
    "pkcs11provider": ("pkcs11_provider", _unless_none),
    "port": ("port", _number),
    "preferredauthentications": ("preferred_authentications", _commas),
    "proxycommand": ("proxy_command", _unless_none),
    "proxyjump": ("proxy_jump", _unless_none),
    "pubkeyacceptedalgorithms": ("pubkey_algorithms", _commas),
    "pubkeyauthentication": ("pubkey_authentication", _yes),
    "remotecommand": ("remote_command", _unless_none),
    "requesttty": ("request_tty", _state),
    "revokedhostkeys": ("revoked_host_keys", _unless_none),
    "sendenv": ("send_env", _lines),
    "serveralivecountmax": ("alive_count_max", _number),
    "serveraliveinterval": ("alive_interval_s", _seconds),
    "setenv": ("set_env", _lines),
    "stricthostkeychecking": ("strict_host_key_checking", _rule),
    "tcpkeepalive": ("tcp_keep_alive", _yes),
    "user": ("user", _text),
    "userknownhostsfile": ("user_known_hosts_files", _words),
    "verifyhostkeydns": ("verify_host_key_dns", _state),
}
assert {name for name, _ in _FIELDS.values()} == {field.name for field in fields(Resolved)}
