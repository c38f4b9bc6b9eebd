"""A control plane over the fakes, in this process or in one that is to be killed."""

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.control.plane import build_control
from jupyter_rmx.control.reconcile import Reconciler
from jupyter_rmx.control.steps import no_probe
from jupyter_rmx.control.use import MachineUse
from jupyter_rmx.errors import UsageError
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store
from jupyter_rmx.testing.fake_credits import FakeCredits
from jupyter_rmx.testing.fake_provider import FakeProvider

OWNER = "me"


class OneProvider:
    """A registry with one provider."""

    def __init__(self, provider):
        self._provider = provider

    def get(self, name):
        if name != self._provider.name:
            raise UsageError(f"There is no provider {name!r}.", hint="", code="vm_invalid_provider")
        return self._provider


class Plane:
    """Everything of one control plane; all planes on one folder share what is remembered and what is really there."""

    def __init__(self, folder, *, url=None, probe=no_probe, fake_probe=None, clock=None, **options):
        self.folder = folder
        fake_options = {
            name: options.pop(name) for name in ("without", "attach", "daemon") if name in options
        }
        paid = options.pop("paid", True)
        self.provider = FakeProvider(folder, probe=fake_probe, **fake_options)
        self.credits = FakeCredits(folder, enabled=paid, probe=fake_probe)
        self.store = Store(url or f"sqlite+aiosqlite:///{folder}/store.sqlite3")
        self.settings = Settings(owner=OWNER, data_dir=folder, default_provider="fake", **options)
        self.control = build_control(
            self.store,
            OneProvider(self.provider),
            self.credits,
            self.settings,
            clock or SystemClock(),
            probe=probe,
        )
        self.use = MachineUse(self.control)
        self.reconciler = Reconciler(self.control)

    async def rows(self):
        """All rows, history too."""
        async with self.store.read() as tx:
            return {record.vm.id: record for record in await tx.machines.all_of(OWNER, "fake")}

    async def operations(self):
        """Operations that are not over."""
        async with self.store.read() as tx:
            return await tx.operations.unfinished(OWNER)

    async def audit(self, **about):
        """Types of the audit events, sorted."""
        async with self.store.read() as tx:
            return sorted(event.type for event in await tx.events.audit(OWNER, **about))

    async def aclose(self):
        await self.control.context.engine.aclose()
        await self.store.aclose()
        await self.provider.aclose()
        self.credits.close()


async def check_true(plane, *, over=True):
    """What must hold whenever nothing is under way: rows, provider and credit say the same."""
    rows = await plane.rows()
    machines = {machine.key: machine for machine in plane.provider.machines()}
    live = {id_: row for id_, row in rows.items() if row.vm.status not in {"destroyed", "failed"}}
    if over:
        left = [(op.operation.kind, op.operation.step, op.operation.state) for op in await plane.operations()]
        assert left == []
    assert machines.keys() == live.keys(), "every machine has a row, and every row a machine"
    for id_, row in rows.items():
        assert row.operation_id is None, row
        assert row.vm.status in {"running", "paused", "destroyed", "failed"}, row
        assert row.active == (row.vm.status == "running"), row
        if id_ in live:
            assert machines[id_].status == row.vm.status, row
            assert machines[id_].id == row.vm.provider_vm_id
    assert len({row.vm.name for row in live.values()}) == len(live)
    if plane.credits.enabled:
        paid = {held.key for held in plane.credits.reservations(live=True)}
        assert paid == {id_ for id_, row in rows.items() if row.vm.status != "failed"}, (
            "credit is held for machines only"
        )
    await _check_leases(plane)
    async with plane.store.read() as tx:
        snapshots = await tx.snapshots.list(OWNER)
    real = {snapshot.id for snapshot in plane.provider.snapshots()}
    assert {snapshot.provider_snapshot_id for snapshot in snapshots} == real, "every snapshot is listed"


async def _check_leases(plane):
    known = {}
    async with plane.store.read() as tx:
        for id_ in await plane.rows():
            known |= {lease.id: lease for lease in await tx.leases.of_machine(id_)}
    for identity in plane.provider.identities(live=True):
        assert identity.key in known, "every identity has a lease"
        assert known[identity.key].revoked_at is None, "a lease that is over has no identity"
    assert all(lease.token_hash for lease in known.values() if lease.revoked_at is None)
