"""Grammar of machine names, ports and keys (design.md § 3.1), and our own ids."""

from __future__ import annotations

import hashlib
import re
import secrets

from jupyter_rmx.errors import UsageError

MACHINE_NAME_MAX = 40
MACHINE_NAME_RULE = "1 to 40 of a-z, 0-9 and '-', with no '--' and no '-' at either end"
_MACHINE_NAME = re.compile(r"(?!-)(?!.*--)[a-z0-9-]{1,40}(?<!-)", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
IDEMPOTENCY_KEY_MAX = 128


def check_machine_name(name: str) -> str:
    """Return `name` if it is a machine name; raise UsageError `usage_bad_name` with the grammar otherwise."""
    if not isinstance(name, str) or _MACHINE_NAME.fullmatch(name) is None:
        raise UsageError(
            f"{str(name)[:60]!r} is not a machine name.",
            hint=f"A name is {MACHINE_NAME_RULE}.",
            code="usage_bad_name",
            details={"field": "name", "rule": MACHINE_NAME_RULE},
        )
    return name


def check_port(port: int | str) -> int:
    """Return `port` as an integer of 1 to 65535; raise UsageError `usage_bad_port` otherwise."""
    text = str(port) if not isinstance(port, bool) else ""
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        raise UsageError(
            f"{str(port)[:20]!r} is not a port.",
            hint="A port is a whole number from 1 to 65535, as in: %vm open NAME 8000",
            code="usage_bad_port",
            details={"field": "port"},
        )
    return int(text)


def check_idempotency_key(key: str) -> str:
    """Return `key` if it has 1 to 128 printable ASCII characters; longer ones are refused, never cut."""
    if not (1 <= len(key) <= IDEMPOTENCY_KEY_MAX and key.isascii() and key.isprintable()):
        raise UsageError(
            "The idempotency key is not usable.",
            hint=f"A key is 1 to {IDEMPOTENCY_KEY_MAX} printable ASCII characters.",
            code="usage_bad_idempotency_key",
            details={"field": "idempotency_key"},
        )
    return key


def new_id(kind: str) -> str:
    """A fresh id of ours, as `vm_3f9a2c41d0b7e865`; `kind` is the prefix."""
    return f"{kind}_{secrets.token_hex(8)}"


def machine_label(name: str, machine_id: str) -> str:
    """The host-name label of a machine: `<name>-<8 hex of SHA-256(machine id)>` (design.md § 3.1)."""
    return f"{name}-{hashlib.sha256(machine_id.encode()).hexdigest()[:8]}"
