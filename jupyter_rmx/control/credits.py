"""CreditGateway: what a machine is paid with before it is made. Nothing, until accounts exist."""

from __future__ import annotations

from typing import Protocol


class CreditGateway(Protocol):
    """Reserves credit at a billing service."""

    enabled: bool
    """False: there is nothing to pay with, and the step is left out."""

    async def reserve(self, owner: str, amount: int, *, key: str) -> None:
        """Take `amount`, once per key.

        WorkflowError `vm_create_credits_insufficient` (402) if it is not there, `vm_billing_unavailable` (503) if
        nobody answers.
        """
        ...

    async def refund(self, owner: str, *, key: str) -> None:
        """Give back what was taken under that key; nothing was, or it was given back: fine."""
        ...


class NoCredits:
    """Machines cost nothing here."""

    enabled = False

    async def reserve(self, owner: str, amount: int, *, key: str) -> None:
        """Nothing to take."""

    async def refund(self, owner: str, *, key: str) -> None:
        """Nothing to give back."""
