"""Names of files below `<data_dir>/local`, and the record of a machine. Standard library only: the keeper uses it.

<id>/machine.json   the truth, written whole or not at all     <id>/home/      the machine's home
<id>/client_key     0600, what opens its SSH server            <id>/run/ssh    its Unix socket
<id>/guest.log      bounded, what went wrong inside            snapshots/<snapshot>/home
<id>.lock           while one is made or ended                 heartbeat       its mtime: a Jupyter of this user lives
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

MARKER = "JUPYTER_RMX_VM"
"""Environment variable with the machine's id, in every process of a machine."""

KEEPER_MARKER = "JUPYTER_RMX_KEEPER"
"""The same in the environment of its keeper, which is not one of its processes."""

SOCKET_PATH_MAX = 107 if sys.platform.startswith("linux") else 103
"""Bytes of a Unix socket's path, without its closing zero."""

SOCKET_NAME = "ssh"
"""Bound relative to its folder, so this is what a client sees as its peer's name: asyncssh needs two characters of it."""

_VM_ID = re.compile(r"local-[0-9a-f]{16}")
_SNAPSHOT_ID = re.compile(r"snap-[0-9a-f]{16}")


class Record(NamedTuple):
    """What `machine.json` holds; `init_*` name the first process of the machine as this computer sees it."""

    key: str
    name: str
    owner: str
    image: str | None
    isolation: str
    details: dict[str, Any]
    created_at: float
    init_pid: int
    init_started: str
    namespace: int | None
    keeper_pid: int
    keeper_started: str
    host_key: str


def vm_id_of(key: str) -> str:
    """The provider's id of the machine with that key: one key, one machine."""
    return "local-" + hashlib.sha256(key.encode()).hexdigest()[:16]


def snapshot_id_of(key: str) -> str:
    """The id of the snapshot with that key: one key, one snapshot."""
    return "snap-" + hashlib.sha256(key.encode()).hexdigest()[:16]


def is_vm_id(text: str) -> bool:
    """True for an id of ours; anything else must not become a path."""
    return _VM_ID.fullmatch(text) is not None


def is_snapshot_id(text: str) -> bool:
    """True for an id of a snapshot; anything else must not become a path."""
    return _SNAPSHOT_ID.fullmatch(text) is not None


class MachineDir:
    """Paths of one machine."""

    def __init__(self, root: Path, vm_id: str) -> None:
        self.id = vm_id
        self.path = root / vm_id
        self.home = self.path / "home"
        self.run = self.path / "run"
        self.socket = self.run / SOCKET_NAME
        self.record = self.path / "machine.json"
        self.client_key = self.path / "client_key"
        self.hosts = self.path / "hosts"
        self.log = self.path / "guest.log"
        self.lock = root / f"{vm_id}.lock"

    def read(self) -> Record | None:
        """The record; None if there is no complete machine (or one of a version that we cannot read)."""
        try:
            return Record(**json.loads(self.record.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


def write_private(path: Path, data: bytes) -> None:
    """Write `data` under `path` with mode 0600, whole or not at all."""
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    part.replace(path)


def write_record(where: MachineDir, record: Record) -> None:
    """Write `machine.json`; from now on the machine counts."""
    write_private(where.record, json.dumps(record._asdict(), indent=1).encode())
