"""What the fake provider has: machines, snapshots, identities; and what its methods do to them, inside a transaction."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.providers.base import ProviderSpec, ProviderStatus, ProviderVM
from jupyter_rmx.testing.fake_truth import count_up, read_setting

DEFAULT_IMAGE = "fake-image"
DEFAULT_IMAGE_VERSION = "1"

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS machines (id TEXT PRIMARY KEY, key TEXT UNIQUE, name TEXT, owner TEXT, status TEXT,
        image TEXT, image_version TEXT, snapshot TEXT, source TEXT, rpc_token TEXT, looks_left INTEGER,
        lists_left INTEGER)""",
    "CREATE TABLE IF NOT EXISTS snapshots (id TEXT PRIMARY KEY, key TEXT UNIQUE, name TEXT, machine TEXT)",
    """CREATE TABLE IF NOT EXISTS identities (handle TEXT PRIMARY KEY, key TEXT, machine TEXT, password TEXT,
        revoked INTEGER)""",
    "CREATE TABLE IF NOT EXISTS scripts (command TEXT PRIMARY KEY, answer BLOB, takes_s REAL)",
)


@dataclass(frozen=True)
class FakeMachine:
    """A machine that exists at the fake provider.

    `status` is any text, since a test may make it one that we do not know. `snapshot`: the snapshot it was restored
    from; `source`: the machine that it was forked from.
    """

    id: str
    key: str
    name: str
    owner: str
    status: str
    image: str | None
    image_version: str | None
    snapshot: str | None
    source: str | None


@dataclass(frozen=True)
class FakeSnapshot:
    """A snapshot, and the machine that it was taken of (which may be gone)."""

    id: str
    key: str
    name: str | None
    machine: str


@dataclass(frozen=True)
class FakeIdentity:
    """What opens a machine by SSH. It stays when its machine is destroyed: only `revoke_identity` ends it."""

    handle: str
    key: str
    machine: str
    revoked: bool


# --- rows as values


def machine_of(row: sqlite3.Row) -> FakeMachine:
    """A row of `machines`."""
    return FakeMachine(**{name: row[name] for name in FakeMachine.__dataclass_fields__})


def snapshot_of(row: sqlite3.Row) -> FakeSnapshot:
    """A row of `snapshots`."""
    return FakeSnapshot(**dict(row))


def identity_of(row: sqlite3.Row) -> FakeIdentity:
    """A row of `identities`, without its password."""
    return FakeIdentity(row["handle"], row["key"], row["machine"], bool(row["revoked"]))


def vm_of(row: sqlite3.Row) -> ProviderVM:
    """A row of `machines`, as the contract tells it."""
    return ProviderVM(
        provider_vm_id=row["id"],
        key=row["key"],
        name=row["name"],
        owner=row["owner"],
        status=row["status"],
        image=row["image"],
        details={"fake": True},
        image_version=row["image_version"],
    )


# --- what the methods do


def find(db: sqlite3.Connection, vm_id: str) -> sqlite3.Row | None:
    """The machine with that id, or with that key."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM machines WHERE id = ? OR key = ?", (vm_id, vm_id)
    ).fetchone()
    return row


def existing(db: sqlite3.Connection, vm_id: str, *allowed: ProviderStatus) -> sqlite3.Row:
    """The machine, which must be in one of these states (none named: in any); `vm_not_running` otherwise."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM machines WHERE id = ?", (vm_id,)).fetchone()
    if row is None or (allowed and row["status"] not in allowed):
        status = "gone" if row is None else row["status"]
        raise ProviderError(
            f"Machine {vm_id[:40]!r} is {status}.",
            hint="Destroy it and create it again." if status == "gone" else "Resume it first.",
            code="vm_not_running",
            status=409,
            details={"status": status},
        )
    return row


def make(
    db: sqlite3.Connection, spec: ProviderSpec, key: str, *, source: sqlite3.Row | None = None
) -> ProviderVM:
    """The machine of that key, made unless it is there; one that is `stopped` is started."""
    row = db.execute("SELECT * FROM machines WHERE key = ?", (key,)).fetchone()
    if row is None:
        vm_id = _insert(db, spec, key, source)
    else:
        vm_id = row["id"]
        if row["status"] == "stopped":
            start(db, vm_id)
    return vm_of(existing(db, vm_id))


def _insert(db: sqlite3.Connection, spec: ProviderSpec, key: str, source: sqlite3.Row | None) -> str:
    _check_quota(db)
    if spec.snapshot is not None:
        _check_snapshot(db, spec.snapshot)
    image = source["image"] if source is not None else spec.image or DEFAULT_IMAGE
    vm_id = f"fake-vm-{count_up(db, 'machines')}"
    db.execute(
        "INSERT INTO machines (id, key, name, owner, image, image_version, snapshot, source, lists_left)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(vm_id, key, spec.name, spec.owner, image, DEFAULT_IMAGE_VERSION, spec.snapshot),
            *(None if source is None else source["id"], read_setting(db, "hide_new")),
        ),
    )
    start(db, vm_id)
    return vm_id


def start(db: sqlite3.Connection, vm_id: str) -> None:
    """Running; or `creating` for a while, if that vice is set."""
    looks = read_setting(db, "start_slowly")
    status = "running" if looks is None else "creating"
    db.execute("UPDATE machines SET status = ?, looks_left = ? WHERE id = ?", (status, looks, vm_id))


def _check_quota(db: sqlite3.Connection) -> None:
    quota = read_setting(db, "quota")
    (number,) = db.execute("SELECT count(*) FROM machines").fetchone()
    if quota is not None and number >= quota:
        raise ProviderError(
            f"The fake provider allows {quota} machines at a time.",
            hint="Destroy one, or ask the provider for more.",
            code="vm_quota_exceeded",
            status=402,
            details={"limit": quota},
        )


def _check_snapshot(db: sqlite3.Connection, snapshot: str) -> None:
    if db.execute("SELECT 1 FROM snapshots WHERE id = ?", (snapshot,)).fetchone() is None:
        raise ProviderError(
            f"There is no snapshot {snapshot[:40]!r}.",
            hint="Take one of a machine that exists.",
            code="vm_snapshot_not_found",
            status=404,
        )


def observe(db: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> None:
    """Somebody looked at these machines: those that start slowly come one look nearer to running."""
    for row in rows:
        left = row["looks_left"]
        if row["status"] != "creating" or left is None or left < 0:
            continue
        if left <= 1:
            db.execute("UPDATE machines SET status = 'running', looks_left = NULL WHERE id = ?", (row["id"],))
        else:
            db.execute("UPDATE machines SET looks_left = ? WHERE id = ?", (left - 1, row["id"]))


def status(db: sqlite3.Connection, vm_id: str) -> ProviderStatus:
    """As it is now; a machine that starts slowly is nearer to running at the next look."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM machines WHERE id = ?", (vm_id,)).fetchone()
    if row is None:
        return "gone"
    observe(db, [row])
    now: ProviderStatus = row["status"]
    return now


def list_owned(db: sqlite3.Connection, owner: str) -> list[ProviderVM]:
    """The owner's machines that can be seen in a list by now."""
    rows = db.execute("SELECT * FROM machines WHERE owner = ? ORDER BY rowid", (owner,)).fetchall()
    seen = [row for row in rows if row["lists_left"] is None]
    db.execute(
        "UPDATE machines SET lists_left = CASE WHEN lists_left = 1 THEN NULL WHEN lists_left > 1 THEN lists_left - 1"
        " ELSE lists_left END WHERE owner = ?",
        (owner,),
    )
    observe(db, seen)
    return [vm_of(row) for row in seen]


def pause(db: sqlite3.Connection, vm_id: str) -> None:
    """Running becomes paused."""
    existing(db, vm_id, "running", "paused")
    db.execute("UPDATE machines SET status = 'paused' WHERE id = ?", (vm_id,))


def resume(db: sqlite3.Connection, vm_id: str) -> None:
    """Paused goes on; stopped is started."""
    row = existing(db, vm_id)
    if row["status"] == "paused":
        db.execute("UPDATE machines SET status = 'running' WHERE id = ?", (vm_id,))
    elif row["status"] == "stopped":
        start(db, vm_id)


def snapshot(db: sqlite3.Connection, vm_id: str, key: str, name: str | None) -> str:
    """The snapshot of that key, made unless it is there."""
    row = db.execute("SELECT id FROM snapshots WHERE key = ?", (key,)).fetchone()
    if row is not None:
        return str(row["id"])
    existing(db, vm_id, "running", "paused", "stopped")
    snapshot_id = f"fake-snap-{count_up(db, 'snapshots')}"
    db.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", (snapshot_id, key, name, vm_id))
    return snapshot_id


def fork(db: sqlite3.Connection, vm_id: str, spec: ProviderSpec, key: str) -> ProviderVM:
    """The machine of that key, made as a copy unless it is there (then its source may be gone by now)."""
    known = db.execute("SELECT 1 FROM machines WHERE key = ?", (key,)).fetchone()
    return make(db, spec, key, source=None if known else existing(db, vm_id, "running"))


def mint(db: sqlite3.Connection, vm_id: str, key: str) -> tuple[str, str]:
    """Handle and password of the identity of that key, made unless there is one that is not revoked."""
    existing(db, vm_id, "running")
    row = db.execute("SELECT * FROM identities WHERE key = ? AND NOT revoked", (key,)).fetchone()
    if row is not None:
        return row["handle"], row["password"]
    handle = f"fake-identity-{count_up(db, 'identities')}"
    password = f"fake-ssh-{secrets.token_hex(16)}"
    db.execute("INSERT INTO identities VALUES (?, ?, ?, ?, 0)", (handle, key, vm_id, password))
    return handle, password


def revoke(db: sqlite3.Connection, vm_id: str, key: str, handle: str | None) -> None:
    """End what was minted under that key; revoked already, or never minted, is fine."""
    db.execute(
        "UPDATE identities SET revoked = 1 WHERE machine = ? AND (key = ? OR handle = ?)",
        (vm_id, key, handle),
    )


def rpc_token(db: sqlite3.Connection, vm_id: str) -> str:
    """The token for calls beside the terminal: a new one, or the machine's one if that vice is set."""
    row = existing(db, vm_id)
    if read_setting(db, "reuse_rpc_tokens") and row["rpc_token"]:
        return str(row["rpc_token"])
    token = f"fake-rpc-{secrets.token_hex(16)}"
    db.execute("UPDATE machines SET rpc_token = ? WHERE id = ?", (token, vm_id))
    return token
