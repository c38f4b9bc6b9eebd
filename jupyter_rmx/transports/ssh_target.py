"""Connecting to a host of the user's own, as `ssh` would: an SSHTarget becomes a live Transport.

What counts is the user's SSH configuration, as `ssh -G` reads it. asyncssh is told everything and reads nothing itself.
Import this file late: asyncssh takes about 100 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import Any

import asyncssh

from jupyter_rmx.errors import RmxError, UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.settings import Settings
from jupyter_rmx.ssh.destination import Destination
from jupyter_rmx.ssh.jump import hop_target
from jupyter_rmx.ssh.resolved import Resolved
from jupyter_rmx.transports import ssh_target_errors as errors
from jupyter_rmx.transports.base import Asker
from jupyter_rmx.transports.ssh import (
    CIPHERS,
    CONNECT_TIMEOUT_S,
    HOST_KEY_KINDS,
    KEEPALIVE_S,
    SSHTransport,
    map_ssh_error,
)
from jupyter_rmx.transports.ssh_auth import Identities
from jupyter_rmx.transports.ssh_hostkeys import HostKeys
from jupyter_rmx.transports.ssh_login import HostProof, Login
from jupyter_rmx.transports.ssh_questions import Patience, Questions
from jupyter_rmx.transports.ssh_resolve import Paths, local, real_paths, resolve
from jupyter_rmx.transports.ssh_way import Way, open_way

MAX_HOPS = 8
METHODS = ("publickey", "keyboard-interactive", "password")
"""What we can do, in OpenSSH's order."""
CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


class TargetTransport(SSHTransport):
    """A live connection to a host of the user's; its jump hosts and its ProxyCommand end with it."""

    def __init__(self, key: str, where: str, way: Way) -> None:
        super().__init__(key, where, takes_signals=False)
        self._way = way
        self.on_closed(way.close)

    async def aclose(self) -> None:
        """Close, and wait until the way is gone, too."""
        await super().aclose()
        self._way.close()
        await self._way.wait_closed()


async def connect_target(
    target: SSHTarget, *, key: str, ask: Asker | None = None, settings: Settings
) -> SSHTransport:
    """Connect to `target`; `ask` puts questions of the server to a person, None: there is nobody.

    Raises UsageError `usage_bad_ssh_config`; TransportError `ssh_unknown_host`, `ssh_refused`, `ssh_unreachable`,
    `ssh_timeout`, `ssh_protocol_error`, `ssh_proxy_failed`, `ssh_jump_failed`, `ssh_auth_failed`,
    `ssh_key_permissions`, `ssh_needs_answer`, `ssh_host_key_changed`, `ssh_host_key_unknown`. An error of a jump host
    has the code of what happened there, and names it.
    """
    return await _Connect(settings, ask, target.destination).to(target, key)


@dataclass
class _Host:
    """One host of the chain: what `ssh -G` says of it, and its name in messages."""

    target: SSHTarget
    resolved: Resolved
    paths: Paths
    where: str


class _Connect:
    """One attempt, over all hops."""

    def __init__(self, settings: Settings, ask: Asker | None, machine: str) -> None:
        self._settings = settings
        self._machine = machine  # what a person attaches, also where a jump host is what fails
        self._ask = ask
        self._here = local()
        self._seen: set[tuple[str, int, str]] = set()

    async def to(
        self, target: SSHTarget, key: str, *, is_hop: bool = False, via: tuple[Destination, ...] = ()
    ) -> SSHTransport:
        """Connect to `target`, over `via` if given, else as its own configuration says."""
        resolved = await resolve(target)
        host = _Host(
            target, resolved, real_paths(resolved, self._here), _where(target, resolved, is_hop=is_hop)
        )
        self._no_circle(host)
        way = await self._way(host, key, via)
        try:
            transport = await self._log_in(host, key, way)
        except BaseException:
            way.close()
            await way.wait_closed()
            raise
        settings = self._settings
        transport.again = lambda: connect_target(target, key=key, settings=settings)
        return transport

    def _no_circle(self, host: _Host) -> None:
        place = (host.resolved.hostname, host.resolved.port, host.resolved.user)
        if place in self._seen or len(self._seen) >= MAX_HOPS:
            raise UsageError(
                f"The jump hosts of your SSH configuration go in a circle, or are more than {MAX_HOPS}: {host.where}.",
                hint="Correct ProxyJump in your ssh_config; `ProxyJump none` takes a host out.",
                code="usage_bad_ssh_config",
            )
        self._seen.add(place)

    async def _way(self, host: _Host, key: str, via: tuple[Destination, ...]) -> Way:
        chain = via or host.resolved.jump_hops
        if not chain:
            return await open_way(
                host.resolved, host.where, FAMILIES[host.resolved.address_family], _timeout(host.resolved)
            )
        # The last hop is the one that dials the host, over those before it (ssh.c: ssh -J first -W host last).
        *before, last = chain
        hop = await self.to(
            hop_target(last, host.target), f"{key} over {last}", is_hop=True, via=tuple(before)
        )
        way = Way(hop=hop, hop_name=f"The jump host {last}")
        try:
            await way.ready()
        except BaseException:
            way.close()
            raise
        return way

    async def _log_in(self, host: _Host, key: str, way: Way) -> SSHTransport:
        resolved, paths = host.resolved, host.paths
        patience = Patience(_timeout(resolved))
        questions = Questions(host.where, None if resolved.batch_mode else self._ask, patience)
        identities = Identities(questions)
        proof = self._proof(host)
        transport = TargetTransport(key, host.where, way)
        login = Login(
            _allowed(resolved),
            resolved,
            proof,
            identities,
            lambda: identities.gather(
                paths.identities, paths.certificates, paths.agent, only=resolved.identities_only
            ),
            questions,
            patience,
            transport.link_lost,
        )
        options = _options(resolved, paths, proof.keys) | {"client_factory": lambda: login} | way.options()
        try:
            transport.bind(await patience.run(asyncssh.connect(**options)))
            await login.kept()
        except (asyncssh.Error, OSError, ValueError, asyncio.TimeoutError) as error:
            raise await self._explain(error, host, way, login, identities, questions, proof) from error
        finally:
            identities.close()
        return transport

    def _proof(self, host: _Host) -> HostProof:
        resolved, paths = host.resolved, host.paths
        # `UserKnownHostsFile /dev/null` and `none`: the user wants nothing remembered of this host.
        remembers = any(path != "/dev/null" for path in paths.user_known_hosts)
        keys = HostKeys(
            resolved.hostname,
            resolved.port,
            alias=resolved.host_key_alias,
            files=paths.known_hosts,
            own=self._settings.data_dir / "known_hosts" if remembers else None,
            revoked=paths.revoked,
        )
        strict = resolved.strict_host_key_checking == "yes" or resolved.known_hosts_command is not None
        direct = resolved.proxy_jump is None and resolved.proxy_command is None
        return HostProof(
            keys,
            accept_new=self._settings.host_keys == "accept-new" and not strict,
            any_key=resolved.no_host_authentication_for_localhost
            and direct
            and resolved.hostname in LOOPBACK,
        )

    async def _explain(
        self,
        error: Exception,
        host: _Host,
        way: Way,
        login: Login,
        identities: Identities,
        questions: Questions,
        proof: HostProof,
    ) -> RmxError:
        """What went wrong, in the words of the user's configuration."""
        if isinstance(error, asyncio.TimeoutError):
            return errors.silent(host.where, spoke=login.server_version is not None)
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return errors.wrong_host_key(
                host.where, proof.keys, proof.judgement, proof.kind, proof.blob, str(error)
            )
        if isinstance(error, asyncssh.PermissionDenied):
            return errors.login_failed(
                host.where,
                methods=login.methods,
                tried=identities.tried,
                problems=identities.problems,
                locked_out=identities.locked_out,
                missing=questions.missing,
                machine=self._machine,
            )
        if isinstance(error, asyncssh.DisconnectError) and "oo many authentication" in str(error):
            return errors.too_many_keys(host.where, identities.tried)
        if isinstance(error, asyncssh.KeyExchangeFailed):
            return errors.no_common_algorithm(host.where, str(error))
        if isinstance(error, asyncssh.ChannelOpenError):
            return errors.hop_refused(host.where, way.hop_name, error.reason)
        if login.server_version is None and isinstance(error, (asyncssh.DisconnectError, OSError)):
            return await way.why_no_server(host.where, host.target.destination)
        return map_ssh_error(error, host.where)


def _where(target: SSHTarget, resolved: Resolved, *, is_hop: bool) -> str:
    """What the user calls the host, and where it is if that is something else."""
    name = target.destination.rpartition("@")[2]
    host = f"[{resolved.hostname}]" if ":" in resolved.hostname else resolved.hostname
    place = f"{resolved.user}@{host}" + (f":{resolved.port}" if resolved.port != 22 else "")
    shown = place if name in {host, resolved.hostname} else f"{name} ({place})"
    return f"The jump host {shown}" if is_hop else shown


def _timeout(resolved: Resolved) -> float:
    return float(resolved.connect_timeout_s or CONNECT_TIMEOUT_S)


def _allowed(resolved: Resolved) -> frozenset[str]:
    """The methods that the configuration allows, of those that we know."""
    on = {
        "publickey": resolved.pubkey_authentication,
        "keyboard-interactive": resolved.kbdint_authentication,
        "password": resolved.password_authentication,
    }
    wanted = resolved.preferred_authentications or METHODS
    return frozenset(method for method in METHODS if on[method] and method in wanted)


def _host_key_algorithms(resolved: Resolved, keys: HostKeys) -> list[str]:
    """Kinds of host keys: those that are known first, so that a server with several shows the known one."""
    allowed = [*HOST_KEY_KINDS]
    if "ssh-rsa" in resolved.host_key_algorithms:  # only where the user says so: it is SHA-1
        allowed.append("ssh-rsa")
    if resolved.host_key_algorithms:
        allowed = [kind for kind in allowed if kind in resolved.host_key_algorithms] or allowed
    known = {alg for kind in keys.kinds for alg in _algorithms_of(kind)}
    ordered = [alg for alg in allowed if alg in known] + [alg for alg in allowed if alg not in known]
    if not keys.has_authority:
        return ordered
    return [f"{alg}{CERTIFICATE_SUFFIX}" for alg in allowed if alg != "ssh-rsa"] + ordered


def _revoked(keys: HostKeys) -> list[asyncssh.SSHKey]:
    """Those that asyncssh knows; no server can show another one to us."""
    found = []
    for line in keys.revoked:
        with contextlib.suppress(asyncssh.KeyImportError):
            found.append(asyncssh.import_public_key(line))
    return found


def _algorithms_of(kind: str) -> tuple[str, ...]:
    return ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa") if kind == "ssh-rsa" else (kind,)


def _keep_alive(resolved: Resolved) -> tuple[float, int]:
    """Interval, and how many may stay unanswered; the user's where that notices a dead peer sooner than ours."""
    theirs = resolved.alive_interval_s
    if theirs is None or theirs >= KEEPALIVE_S:
        return KEEPALIVE_S, 2
    return float(theirs), max(0, min(resolved.alive_count_max, 3) - 1)


def _options(resolved: Resolved, paths: Paths, keys: HostKeys) -> dict[str, Any]:
    """Everything that asyncssh would otherwise look up by itself."""
    allowed = [m for m in resolved.preferred_authentications if m in METHODS] or list(METHODS)
    interval, unanswered = _keep_alive(resolved)
    forward = resolved.forward_agent
    return {
        "config": None,
        "host": resolved.hostname,
        "port": resolved.port,
        "username": resolved.user,
        "known_hosts": ([], [], _revoked(keys)),
        "host_key_alias": resolved.host_key_alias,
        "server_host_key_algs": _host_key_algorithms(resolved, keys),
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "client_keys": None,
        "agent_path": None,
        "agent_forwarding": (paths.agent if forward == "yes" else paths.forwarded_agent) or False,
        "gss_host": None,
        "host_based_auth": False,
        # All of them, in the user's order: only so do we hear what the server offers. `Login` uses the allowed ones.
        "preferred_auth": [*allowed, *(method for method in METHODS if method not in allowed)],
        "compression_algs": ["zlib@openssh.com", "none"] if resolved.compression else ["none"],
        "encryption_algs": CIPHERS,
        "tcp_keepalive": resolved.tcp_keep_alive,
        "keepalive_interval": interval,
        "keepalive_count_max": unanswered,
        # Our own clock stands still while a person is asked; theirs do not.
        "connect_timeout": None,
        "login_timeout": 0,
    }
