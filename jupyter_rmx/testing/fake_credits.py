"""FakeCredits: a credit gateway whose accounts are rows in a file.

Shared and whole like `FakeProvider`, with the same journal, vices and probe (`fake_base.Fake`). A key that was refunded
can be reserved again, and is charged again.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from jupyter_rmx.errors import RmxError, WorkflowError
from jupyter_rmx.testing.fake_base import Fake, Probe

CREDIT_METHODS = ("reserve", "refund")
"""All methods that are journaled and probed, each at all MOMENTS."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS accounts (owner TEXT PRIMARY KEY, balance INTEGER)",
    "CREATE TABLE IF NOT EXISTS reservations (key TEXT PRIMARY KEY, owner TEXT, amount INTEGER, refunded INTEGER)",
)


@dataclass(frozen=True)
class FakeReservation:
    """Credit that was taken under a key, and whether it was given back."""

    key: str
    owner: str
    amount: int
    refunded: bool


class FakeCredits(Fake):
    """The credit gateway. `initial`: the balance of an owner for whom none was set."""

    methods = CREDIT_METHODS

    def __init__(
        self, folder: Path, *, initial: int = 1000, enabled: bool = True, probe: Probe | None = None
    ) -> None:
        super().__init__(folder / "credits.sqlite3", _SCHEMA, probe)
        self.enabled = enabled
        self._initial = initial

    # --- what is really there

    def balance(self, owner: str) -> int:
        """Credits that the owner has left."""
        rows = self._truth.look("SELECT balance FROM accounts WHERE owner = ?", owner)
        return int(rows[0]["balance"]) if rows else self._initial

    def set_balance(self, owner: str, balance: int) -> None:
        """Give the owner so many."""
        with self._truth.change() as db:
            db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (owner, balance))

    def reservations(self, *, live: bool = False) -> list[FakeReservation]:
        """All that was ever reserved, oldest first; with `live` what is not refunded."""
        rows = self._truth.look("SELECT * FROM reservations ORDER BY rowid")
        found = [FakeReservation(r["key"], r["owner"], r["amount"], bool(r["refunded"])) for r in rows]
        return [one for one in found if not (live and one.refunded)]

    # --- the gateway

    async def reserve(self, owner: str, amount: int, *, key: str) -> None:
        """Take `amount` credits under that key, once; WorkflowError `vm_create_credits_insufficient` when short."""

        def work(db: sqlite3.Connection) -> None:
            known = db.execute("SELECT refunded FROM reservations WHERE key = ?", (key,)).fetchone()
            if known is not None and not known["refunded"]:
                return
            self._charge(db, owner, amount)
            db.execute("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?, 0)", (key, owner, amount))

        await self._call("reserve", {"owner": owner, "amount": amount, "key": key}, work)

    async def refund(self, owner: str, *, key: str) -> None:
        """Give back what was taken under that key, once; a key that is not known is fine."""

        def work(db: sqlite3.Connection) -> None:
            taken = db.execute(
                "SELECT amount FROM reservations WHERE key = ? AND owner = ? AND NOT refunded", (key, owner)
            ).fetchone()
            if taken is not None:
                self._charge(db, owner, -taken["amount"])
                db.execute("UPDATE reservations SET refunded = 1 WHERE key = ?", (key,))

        await self._call("refund", {"owner": owner, "key": key}, work)

    def _unavailable(self, what: str) -> RmxError:
        return WorkflowError(
            f"The fake billing service {what}.",
            hint="Try again in a few seconds.",
            code="vm_billing_unavailable",
            status=503,
            retryable=True,
        )

    async def aclose(self) -> None:
        """Let go of the file."""
        self.close()

    def _charge(self, db: sqlite3.Connection, owner: str, amount: int) -> None:
        db.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?)", (owner, self._initial))
        (balance,) = db.execute("SELECT balance FROM accounts WHERE owner = ?", (owner,)).fetchone()
        if balance < amount:
            raise WorkflowError(
                f"A machine costs {amount} credits, and {balance} are left.",
                hint="Add credits, or destroy a machine that you no longer need.",
                code="vm_create_credits_insufficient",
                status=402,
                details={"amount": amount},
            )
        db.execute("UPDATE accounts SET balance = balance - ? WHERE owner = ?", (amount, owner))
