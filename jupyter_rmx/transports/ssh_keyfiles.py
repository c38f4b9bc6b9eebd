"""Files that hold keys: who may read them, and what they tell without a passphrase (OpenSSH's PROTOCOL.key)."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

KEY_FILE_LIMIT = 1024 * 1024
"""Bytes; a larger file is no key."""
_MAGIC = b"openssh-key-v1\0"


def read_key(path: str) -> bytes:
    """What is in the file; OSError if it cannot be read."""
    with Path(path).open("rb") as file:
        return file.read(KEY_FILE_LIMIT)


def is_private(path: str) -> bool:
    """OpenSSH's rule (authfile.c): a key of this user's that anybody else may read is not used."""
    found = Path(path).stat()
    return found.st_uid != os.getuid() or not stat.S_IMODE(found.st_mode) & 0o077


def openssh_line(blob: bytes) -> bytes:
    """A public key as SSH sends it, as the line that OpenSSH writes."""
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size] + b" " + base64.b64encode(blob)


def _container(data: bytes) -> bytes | None:
    """What is in a file of OpenSSH's own format (PROTOCOL.key), which tells its public part also when encrypted."""
    text = b"".join(line for line in data.splitlines() if not line.startswith(b"-----"))
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw.removeprefix(_MAGIC) if raw.startswith(_MAGIC) else None


def _fields(raw: bytes) -> list[bytes]:
    """Cipher, KDF, its options, and the public key behind the count of keys."""
    found = []
    at = 0
    for index in range(4):
        at += 4 if index == 3 else 0  # the count
        size = int.from_bytes(raw[at : at + 4], "big")
        found.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def public_line(data: bytes) -> bytes | None:
    """The public key that a private one in OpenSSH's own format tells, encrypted or not; None of other formats."""
    raw = _container(data)
    return openssh_line(_fields(raw)[3]) if raw else None


def is_encrypted(data: bytes) -> bool:
    """Whether a private key needs a passphrase."""
    raw = _container(data)
    if raw is not None:
        return _fields(raw)[0] != b"none"
    return b"ENCRYPTED" in data
