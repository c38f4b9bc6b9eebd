"""The laws of VMProvider as a pytest class.

A driver inherits it and says how to make its provider:

    class TestMine(ProviderContract):
        def make_provider(self):
            return MyProvider(Settings())

        async def run(self, endpoint, command):
            ...  # run a shell command over the endpoint: (exit code, standard output)

Every test makes its own machines and destroys them, also when it fails. The tests need no asyncio plugin.
"""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import Endpoint, new_id
from jupyter_rmx.providers.base import ProviderSpec, ProviderVM, VMProvider

OPTIONAL = {"pause", "resume", "snapshot", "restore"}
PAUSED_S = 0.5
"""Seconds for which a machine is held paused while it must not tick."""

# Ticks in a session of its own, as a daemon would: a pause that stops only the login's processes would miss it.
_TICKER = (
    "setsid sh -c 'while :; do date +%s.%N >> ticks; sleep 0.02; done' </dev/null >/dev/null 2>&1 & "
    "while ! [ -s ticks ]; do sleep 0.02; done"
)


class Room:
    """One provider and the machines that a test made with it."""

    def __init__(self, provider: VMProvider) -> None:
        self.provider = provider
        self.owner = f"contract-{secrets.token_hex(4)}"
        self.made: set[str] = set()

    async def create(
        self, name: str = "demo", *, key: str | None = None, snapshot: str | None = None
    ) -> ProviderVM:
        """A machine that the test's end will destroy."""
        spec = ProviderSpec(name=name, owner=self.owner, snapshot=snapshot)
        vm = await self.provider.create(spec, key=key or new_id("vm"))
        self.made.add(vm.provider_vm_id)
        return vm


class ProviderContract(ABC):
    """Inherit, implement `make_provider` and `run`."""

    @abstractmethod
    def make_provider(self) -> VMProvider:
        """A new provider object; all objects of one test must see the same machines."""

    @abstractmethod
    async def run(self, endpoint: Endpoint, command: str) -> tuple[int, str]:
        """Run a shell command over the endpoint: its exit code and standard output."""

    @asynccontextmanager
    async def room(self) -> AsyncIterator[Room]:
        """A provider whose machines are destroyed at the end."""
        room = Room(self.make_provider())
        try:
            yield room
        finally:
            for vm_id in room.made:
                await room.provider.destroy(vm_id)
            await room.provider.aclose()

    def play(self, scene: Callable[[Room], Awaitable[None]]) -> None:
        """Run one test in an event loop of its own."""

        async def act() -> None:
            async with self.room() as room:
                await scene(room)

        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(act())
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    async def sh(self, room: Room, vm: ProviderVM, command: str) -> str:
        """Standard output of a command that must succeed."""
        code, output = await self.run(await room.provider.attach_endpoint(vm.provider_vm_id), command)
        assert code == 0, f"{command!r} ended with {code}: {output}"
        return output

    # --- the laws

    def test_capabilities_name_methods_that_exist(self) -> None:
        """`restore` is `create` with a snapshot; the others are methods."""

        async def scene(room: Room) -> None:
            assert room.provider.capabilities <= OPTIONAL
            for name in room.provider.capabilities - {"restore"}:
                assert callable(getattr(room.provider, name))

        self.play(scene)

    def test_create_gives_a_running_machine_that_can_be_used(self) -> None:
        """Ready means: the next call succeeds, with no waiting in between."""

        async def scene(room: Room) -> None:
            vm = await room.create("demo", key=(key := new_id("vm")))
            assert (vm.key, vm.name, vm.owner, vm.status) == (key, "demo", room.owner, "running")
            assert await room.provider.status(vm.provider_vm_id) == "running"
            endpoint = await room.provider.attach_endpoint(vm.provider_vm_id)
            assert await self.run(endpoint, "echo here; exit 3") == (3, "here\n")

        self.play(scene)

    def test_the_endpoints_repr_shows_no_secret(self) -> None:
        """Reprs end in logs."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            endpoint = await room.provider.attach_endpoint(vm.provider_vm_id)
            assert endpoint.client_key is None or endpoint.client_key not in repr(endpoint)
            assert "PRIVATE" not in repr(endpoint)

        self.play(scene)

    def test_the_same_key_gives_the_same_machine(self) -> None:
        """One after the other, at the same time, and from another provider object."""

        async def scene(room: Room) -> None:
            key = new_id("vm")
            spec = ProviderSpec(name="demo", owner=room.owner)
            other = self.make_provider()
            first = await room.create(key=key)
            again = await room.provider.create(spec, key=key)
            both = await asyncio.gather(room.provider.create(spec, key=key), other.create(spec, key=key))
            await other.aclose()
            assert {vm.provider_vm_id for vm in (again, *both)} == {first.provider_vm_id}
            assert len(await room.provider.list_owned(room.owner)) == 1

        self.play(scene)

    def test_two_creates_at_once_with_one_key_make_one_machine(self) -> None:
        """No machine may be made and then forgotten."""

        async def scene(room: Room) -> None:
            key = new_id("vm")
            other = self.make_provider()
            spec = ProviderSpec(name="demo", owner=room.owner)
            one, two = await asyncio.gather(room.create(key=key), other.create(spec, key=key))
            await other.aclose()
            assert one.provider_vm_id == two.provider_vm_id
            assert len(await room.provider.list_owned(room.owner)) == 1

        self.play(scene)

    def test_another_provider_object_adopts_the_machine(self) -> None:
        """Letting go of the provider ends no machine; status and endpoint are read, not remembered."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            await room.provider.aclose()
            room.provider = self.make_provider()
            assert await room.provider.status(vm.provider_vm_id) == "running"
            assert [found.key for found in await room.provider.list_owned(room.owner)] == [vm.key]
            assert await self.sh(room, vm, "echo adopted") == "adopted\n"

        self.play(scene)

    def test_owners_see_their_own_machines_only(self) -> None:
        """By the key and the name that they were given."""

        async def scene(room: Room) -> None:
            vm = await room.create("mine")
            found = await room.provider.list_owned(room.owner)
            assert [(one.provider_vm_id, one.key, one.name) for one in found] == [
                (vm.provider_vm_id, vm.key, "mine")
            ]
            assert await room.provider.list_owned(room.owner + "-else") == []

        self.play(scene)

    def test_destroy_is_repeatable_and_final(self) -> None:
        """What is gone is success, also what never was."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            await room.provider.destroy(vm.provider_vm_id)
            await room.provider.destroy(vm.provider_vm_id)
            await room.provider.destroy("never-was")
            assert await room.provider.status(vm.provider_vm_id) == "gone"
            assert await room.provider.status("never-was") == "gone"
            assert await room.provider.list_owned(room.owner) == []
            with pytest.raises(ProviderError) as caught:
                await room.provider.attach_endpoint(vm.provider_vm_id)
            assert caught.value.code == "vm_not_running"
            assert caught.value.hint

        self.play(scene)

    def test_a_key_can_be_used_again_after_destroy(self) -> None:
        """The new machine has nothing of the old one."""

        async def scene(room: Room) -> None:
            key = new_id("vm")
            await self.sh(room, await room.create(key=key), "echo old > left")
            await room.provider.destroy(next(iter(room.made)))
            vm = await room.create(key=key)
            assert await self.sh(room, vm, "ls -A | grep -c left || true") == "0\n"

        self.play(scene)

    def test_two_machines_do_not_share_a_home(self) -> None:
        """A file of one is not in the other."""

        async def scene(room: Room) -> None:
            one, two = await asyncio.gather(room.create("one"), room.create("two"))
            await self.sh(room, one, "echo secret > mine")
            assert await self.sh(room, two, "test -e mine || echo none") == "none\n"

        self.play(scene)

    def test_heartbeat_is_harmless(self) -> None:
        """It may come before there is any machine."""

        async def scene(room: Room) -> None:
            await room.provider.heartbeat()
            vm = await room.create()
            await room.provider.heartbeat()
            assert await room.provider.status(vm.provider_vm_id) == "running"

        self.play(scene)

    def test_pause_freezes_every_process_and_resume_lets_them_go_on(self) -> None:
        """No tick while paused, more ticks afterwards; both calls are repeatable."""

        async def scene(room: Room) -> None:
            if "pause" not in room.provider.capabilities:
                return
            vm = await room.create()
            await self.sh(room, vm, _TICKER)
            await room.provider.pause(vm.provider_vm_id)
            await room.provider.pause(vm.provider_vm_id)
            assert await room.provider.status(vm.provider_vm_id) == "paused"
            with pytest.raises(ProviderError) as caught:
                await room.provider.attach_endpoint(vm.provider_vm_id)
            assert caught.value.code == "vm_not_running"
            await asyncio.sleep(PAUSED_S)
            await room.provider.resume(vm.provider_vm_id)
            await room.provider.resume(vm.provider_vm_id)
            assert await room.provider.status(vm.provider_vm_id) == "running"
            wait = "n=$(wc -l < ticks); while [ $(wc -l < ticks) -lt $((n + 2)) ]; do sleep 0.02; done"
            ticks = [float(line) for line in (await self.sh(room, vm, f"{wait}; cat ticks")).split()]
            gaps = [later - sooner for sooner, later in pairwise(ticks)]
            assert max(gaps) >= PAUSED_S

        self.play(scene)

    def test_a_paused_machine_can_be_destroyed(self) -> None:
        """Stopped processes are no reason to stay."""

        async def scene(room: Room) -> None:
            if "pause" not in room.provider.capabilities:
                return
            vm = await room.create()
            await room.provider.pause(vm.provider_vm_id)
            await room.provider.destroy(vm.provider_vm_id)
            assert await room.provider.status(vm.provider_vm_id) == "gone"

        self.play(scene)

    def test_a_restored_machine_starts_as_the_snapshot_was(self) -> None:
        """With modes and links; changed later on neither side of the other."""

        async def scene(room: Room) -> None:
            if not {"snapshot", "restore"} <= room.provider.capabilities:
                return
            vm = await room.create("first")
            await self.sh(room, vm, "mkdir -p a; echo then > a/f; chmod 750 a/f; ln -s a/f link")
            snapshot = await room.provider.snapshot(vm.provider_vm_id)
            await self.sh(room, vm, "echo now > a/f")
            copy = await room.create("second", snapshot=snapshot)
            assert copy.provider_vm_id != vm.provider_vm_id
            look = "cat link; readlink link; stat -c %a a/f"
            assert await self.sh(room, copy, look) == "then\na/f\n750\n"
            assert await self.sh(room, vm, "cat a/f") == "now\n"

        self.play(scene)

    def test_an_unknown_snapshot_is_refused_and_leaves_nothing(self) -> None:
        """Also one that looks like a path."""

        async def scene(room: Room) -> None:
            for snapshot in ("snap-0000000000000000", "../../etc"):
                with pytest.raises(ProviderError) as caught:
                    await room.create(snapshot=snapshot)
                assert caught.value.code
                assert caught.value.hint
            assert await room.provider.list_owned(room.owner) == []

        self.play(scene)
