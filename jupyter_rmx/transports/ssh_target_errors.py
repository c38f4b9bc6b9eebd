"""Why a host of the user's could not be connected: one line each, with what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from jupyter_rmx.errors import TransportError
from jupyter_rmx.transports.error_line import best_error_line
from jupyter_rmx.transports.ssh_hostkeys import HostKeys, Judgement, fingerprint

Details = dict[str, object]


def _error(
    message: str, hint: str, code: str, details: Details | None = None, *, retryable: bool = False
) -> TransportError:
    return TransportError(message, hint=hint, code=code, retryable=retryable, details=details)


def silent(where: str, *, spoke: bool) -> TransportError:
    """The time was up. `spoke`: it has said that it is an SSH server."""
    return _error(
        f"{where} stopped answering while we logged in."
        if spoke
        else f"{where} accepted the connection and then said nothing.",
        "It may be overloaded, or no SSH server: try again, and check the port.",
        "ssh_timeout",
        retryable=True,
    )


def not_ssh(where: str, said: str) -> TransportError:
    """Something else listens there; `said` is its first line."""
    return _error(
        f"{where} is no SSH server: it says '{said}'.",
        "Check the port.",
        "ssh_protocol_error",
        {"said": said},
    )


def hung_up(where: str) -> TransportError:
    """The server closed before it said anything."""
    return _error(
        f"{where} closed the connection before it was ready.",
        "It may be overloaded, or not let you in from here; try again.",
        "ssh_unreachable",
        retryable=True,
    )


def proxy_failed(where: str, stderr: str, host: str) -> TransportError:
    """A ProxyCommand that ended, with the best line of what it said."""
    line = best_error_line(stderr) or "it said nothing"
    return _error(
        f"The ProxyCommand on the way to {where} failed: {line}",
        f"Correct ProxyCommand in your ssh_config, and see with `ssh {quote(host)}` how it runs.",
        "ssh_proxy_failed",
        retryable=True,
    )


def hop_refused(where: str, hop: str, reason: str) -> TransportError:
    """A jump host that did not get through to the next host."""
    return _error(
        f"{hop} could not connect to {where}: {reason}.",
        "Check that the host runs and can be reached from there, and that forwarding is allowed there"
        " (AllowTcpForwarding).",
        "ssh_jump_failed",
        retryable=True,
    )


def no_common_algorithm(where: str, reason: str) -> TransportError:
    """The server speaks only what is not offered."""
    return _error(
        f"{where} and we have no way of encryption in common: {reason}.",
        "It may be very old: allow its algorithms in your ssh_config (as HostKeyAlgorithms +ssh-rsa).",
        "ssh_protocol_error",
    )


def login_failed(
    where: str,
    *,
    methods: Sequence[str],
    tried: Sequence[str],
    problems: Sequence[str],
    locked_out: Sequence[str],
    missing: Sequence[str],
    machine: str,
) -> TransportError:
    """Nothing was accepted. `missing`: what nobody was there to be asked for."""
    facts = [f"keys tried: {', '.join(tried)}" if tried else "no key was tried"]
    if methods:
        facts.insert(0, f"it takes {', '.join(methods)}")
    details: Details = {"methods": list(methods), "tried": list(tried), "problems": list(problems)}
    if locked_out:
        path = locked_out[0]
        return _error(
            f"{where} did not let us in, and the key {path} was not used, since others may read it.",
            f"Run: chmod 600 {' '.join(map(quote, locked_out))}",
            "ssh_key_permissions",
            details,
        )
    if missing:
        return _error(
            f"{where} asks for {' or '.join(missing)}, and nobody can answer here ({'; '.join(facts)}).",
            f"Run `%vm attach {machine}` where you can type, or add your key to ssh-agent (ssh-add), which asks once.",
            "ssh_needs_answer",
            details,
        )
    hint = "Check the user name, and that your key is in ~/.ssh/authorized_keys there."
    return _error(
        f"{where} did not let us in ({'; '.join(facts)}).",
        " ".join([*problems, hint]),
        "ssh_auth_failed",
        details,
    )


def too_many_keys(where: str, tried: Sequence[str]) -> TransportError:
    """The server counts each key as a failure, and there were too many."""
    return _error(
        f"{where} did not let us in: too many keys were tried ({', '.join(tried)}).",
        "Name the right one: IdentityFile and `IdentitiesOnly yes` for this host in your ssh_config.",
        "ssh_auth_failed",
        {"tried": list(tried)},
    )


def wrong_host_key(
    where: str, keys: HostKeys, judgement: Judgement, kind: str, blob: bytes, reason: str
) -> TransportError:
    """The host is not let near our secrets: its key is changed, revoked, unknown, or its certificate is no good."""
    shown = f"{_word(kind)} {fingerprint(blob)}" if blob else ""
    if judgement.verdict == "revoked" or (not blob and "revoked" in reason):
        return _error(
            f"The key that {where} shows is revoked{f' ({shown})' if shown else ''}.",
            "Nothing was sent. Ask whoever runs it for its new key.",
            "ssh_host_key_changed",
            _details(judgement, blob),
        )
    if judgement.verdict == "changed":
        known = judgement.lines[0]
        return _error(
            f"The key of {where} has changed: it shows {shown}, and {known.place} knows"
            f" {_word(known.kind)} {fingerprint(known.blob)}.",
            "Somebody may be in between; nothing was sent. If you know that the host was made anew, remove the old key:"
            f" ssh-keygen -R {quote(keys.name)} -f {quote(known.path)}",
            "ssh_host_key_changed",
            _details(judgement, blob),
        )
    if not blob:
        return _error(
            f"The certificate of {where} is not accepted: {reason}.",
            "Ask whoever runs it for a right one.",
            "ssh_host_key_changed",
        )
    return _error(
        f"The key of {where} is not known: {shown}.",
        "Unknown hosts are refused here (host_keys or StrictHostKeyChecking). If the fingerprint is right, connect once"
        " with `ssh`, which adds it.",
        "ssh_host_key_unknown",
        _details(judgement, blob),
    )


def _word(kind: str) -> str:
    """ED25519, ECDSA or RSA, as OpenSSH calls them to people."""
    return kind.removeprefix("ssh-").partition("-")[0].upper()


def _details(judgement: Judgement, blob: bytes) -> Details:
    return {
        "fingerprint": fingerprint(blob) if blob else None,
        "known": [
            {"fingerprint": fingerprint(one.blob), "file": one.path, "line": one.number}
            for one in judgement.lines
        ],
    }
