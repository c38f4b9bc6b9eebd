"""Which host key is right: the known_hosts files of OpenSSH (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), and one of our own.

The user's files and the global ones decide; only what they do not know is looked up in our file, and kept there. Nothing
of the user's is ever written.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jupyter_rmx.errors import UsageError

Verdict = Literal["right", "unknown", "changed", "revoked"]
Marker = Literal["", "cert-authority", "revoked"]
SSH_PORT = 22


@dataclass(frozen=True)
class KnownKey:
    """One line of a known_hosts file that speaks of a host: `blob` is the public key as SSH sends it."""

    path: str
    number: int
    marker: Marker
    kind: str
    blob: bytes

    @property
    def place(self) -> str:
        """File and line, as OpenSSH names them."""
        return f"{self.path}:{self.number}"


@dataclass(frozen=True)
class Judgement:
    """What the files say of a key; `lines` are those that speak against it."""

    verdict: Verdict
    lines: tuple[KnownKey, ...] = ()


def fingerprint(blob: bytes) -> str:
    """A public key's fingerprint as OpenSSH shows it: `SHA256:…`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def host_name(host: str, port: int, alias: str | None) -> str:
    """The name under which a host stands in the files: its alias, else the host, with the port where it is not 22."""
    if alias:
        return alias.lower()
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


def _speaks_of(patterns: str, name: str) -> bool:
    if patterns.startswith("|"):
        return _is_hash_of(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        plain = pattern.removeprefix("!")
        text = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in plain)
        if re.fullmatch(text, name):
            if pattern != plain:
                return False
            found = True
    return found


def _is_hash_of(hashed: str, name: str) -> bool:
    try:
        _, version, salt, digest = hashed.split("|")
        known = base64.b64decode(digest, validate=True)
        made = hmac.new(base64.b64decode(salt, validate=True), name.encode(), hashlib.sha1).digest()
    except (ValueError, binascii.Error):
        return False
    return version == "1" and hmac.compare_digest(known, made)


def lines_of(text: str, path: str, name: str) -> list[KnownKey]:
    """The lines of a known_hosts file that speak of `name`; lines that make no sense are passed over, as by OpenSSH."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: OpenSSH counts these
        words = line.split()
        marker = words.pop(0).removeprefix("@") if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "cert-authority", "revoked"):
            continue
        if not _speaks_of(words[0], name):
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except (ValueError, binascii.Error):
            continue
        found.append(KnownKey(path, number, marker, words[1], blob))  # type: ignore[arg-type] # narrowed above
    return found


def _read(paths: Iterable[str], name: str) -> list[KnownKey]:
    found = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:  # not there, or not ours to read: then it knows nothing, as for OpenSSH
            continue
        found += lines_of(text, path, name)
    return found


def _revoked(path: str) -> list[KnownKey]:
    """The keys of RevokedHostKeys. As in ssh, no host is right while the file cannot be read."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _bad_revoked(f"{path} (RevokedHostKeys) cannot be read: {error.strerror}.") from error
    if data.startswith(b"SSHKRL"):
        raise _bad_revoked(
            f"{path} (RevokedHostKeys) is in the binary form of ssh-keygen, which is not read here."
        )
    found = []
    for number, line in enumerate(data.decode(errors="replace").split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            blob = base64.b64decode(words[1], validate=True)
        except (ValueError, IndexError) as error:
            raise _bad_revoked(f"{path}:{number} (RevokedHostKeys) is no public key.") from error
        found.append(KnownKey(path, number, "revoked", words[0], blob))
    return found


def _bad_revoked(message: str) -> UsageError:
    return UsageError(
        message, hint="Give it as a text with one public key in each line.", code="usage_bad_ssh_config"
    )


def judge(lines: Sequence[KnownKey], blob: bytes) -> Judgement:
    """What these lines say of a plain key.

    Any other key of the host speaks against it, also one of another kind: a server that is asked for the kind that is
    known shows that one, if it is the same server.
    """
    revoked = tuple(line for line in lines if line.marker == "revoked" and line.blob == blob)
    if revoked:
        return Judgement("revoked", revoked)
    plain = tuple(line for line in lines if not line.marker)
    if any(line.blob == blob for line in plain):
        return Judgement("right")
    return Judgement("changed", plain) if plain else Judgement("unknown")


class HostKeys:
    """What is known of one host, read once for one attempt to connect.

    `files` are the user's and the global ones; `own` is ours, or None where nothing is to be remembered. `revoked` is
    the file of RevokedHostKeys. Raises UsageError `usage_bad_ssh_config` if that cannot be read.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        alias: str | None,
        files: Sequence[str],
        own: Path | None,
        revoked: str | None = None,
    ) -> None:
        self.name = host_name(host, port, alias)
        self._own = own
        self._theirs = _read(files, self.name) + (_revoked(revoked) if revoked else [])
        self._ours = _read([str(own)] if own else [], self.name)
        # OpenSSH takes a key that is known without the port, too, but a missing match there is no objection.
        portless = alias is None and port != SSH_PORT
        self._portless = _read(files, host.lower()) if portless else []

    @property
    def revoked(self) -> list[str]:
        """Keys that are right for nothing any more, as OpenSSH writes them."""
        return [
            f"{line.kind} {base64.b64encode(line.blob).decode()}"
            for line in self._all()
            if line.marker == "revoked"
        ]

    @property
    def kinds(self) -> list[str]:
        """Kinds of the keys that are known, so that the server can be asked for these first."""
        return list(dict.fromkeys(line.kind for line in self._all() if not line.marker))

    @property
    def has_authority(self) -> bool:
        """Whether a certificate of the host could be right."""
        return any(line.marker == "cert-authority" for line in self._all())

    def _all(self) -> list[KnownKey]:
        return self._theirs + self._portless + self._ours

    def trusts_authority(self, blob: bytes) -> bool:
        """Whether host certificates that this key signed are right."""
        if any(line.marker == "revoked" and line.blob == blob for line in self._all()):
            return False
        return any(line.marker == "cert-authority" and line.blob == blob for line in self._all())

    def judge(self, blob: bytes) -> Judgement:
        """What is known of the key that the host shows. The user's files decide; ours is asked where they are silent."""
        theirs = judge(self._theirs, blob)
        if theirs.verdict != "unknown":
            return theirs
        portless = judge(self._portless, blob)
        if portless.verdict in ("right", "revoked"):
            return portless
        return judge(self._ours, blob)

    def keep(self, kind: str, blob: bytes) -> Judgement:
        """Write a new key into our file, hashed; what another process has written meanwhile is looked at first.

        Raises OSError where the file cannot be written; then it is as it was.
        """
        if self._own is None:
            return Judgement("right")
        self._own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._own, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)  # of the file itself: it is never replaced
            known = judge(_read([str(self._own)], self.name), blob)
            if known.verdict == "unknown":
                _append(fd, _hashed_line(self.name, kind, blob))
                return Judgement("right")
            return known
        finally:
            os.close(fd)


def _hashed_line(name: str, kind: str, blob: bytes) -> bytes:
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    hashed = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    return f"{hashed} {kind} {base64.b64encode(blob).decode()}\n".encode()


def _append(fd: int, line: bytes) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        line = b"\n" + line
    try:
        if os.write(fd, line) != len(line):
            raise OSError("disk full")
    except OSError:
        os.ftruncate(fd, size)  # half a line would spoil the next one
        raise
