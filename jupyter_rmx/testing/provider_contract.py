"""The laws of VMProvider as pytest classes.

A driver inherits one and says how to make its provider:

    class TestMine(ProviderContract):
        def make_provider(self):
            return MyProvider(Settings())

        async def run(self, endpoint, command):
            ...  # run a shell command over the endpoint: (exit code, standard output)

LifecycleContract holds the laws that need no shell on the machine, ProviderContract these and the others. Every test
makes its own machines and destroys them, also when it fails (snapshots stay). The tests need no asyncio plugin.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from itertools import pairwise

from jupyter_rmx.models import Endpoint, new_id
from jupyter_rmx.providers.base import ProviderVM
from jupyter_rmx.testing.lifecycle_contract import (
    EXEC_FAILS,
    EXEC_TOO_LONG,
    OPTIONAL,
    LifecycleContract,
    Room,
    refused,
)

__all__ = ["EXEC_FAILS", "EXEC_TOO_LONG", "OPTIONAL", "LifecycleContract", "ProviderContract", "Room"]

PAUSED_S = 0.5
"""Seconds for which a machine is held paused while it must not tick."""

# Ticks in a session of its own, as a daemon would: a pause that stops only the login's processes would miss it.
_TICKER = (
    "setsid sh -c 'while :; do date +%s.%N >> ticks; sleep 0.02; done' </dev/null >/dev/null 2>&1 & "
    "while ! [ -s ticks ]; do sleep 0.02; done"
)


class ProviderContract(LifecycleContract):
    """Inherit, implement `make_provider` and `run`, and `end_but_keep` if machines can be `stopped`."""

    @abstractmethod
    async def run(self, endpoint: Endpoint, command: str) -> tuple[int, str]:
        """Run a shell command over the endpoint: its exit code and standard output."""

    async def sh(self, room: Room, vm: ProviderVM, command: str) -> str:
        """Standard output of a command that must succeed."""
        code, output = await self.run(await room.provider.attach_endpoint(vm.provider_vm_id), command)
        assert code == 0, f"{command!r} ended with {code}: {output}"
        return output

    # --- the laws

    def test_a_new_machine_can_be_used_at_once(self) -> None:
        """Ready means: the next call succeeds, with no waiting in between."""

        async def scene(room: Room) -> None:
            endpoint = await room.provider.attach_endpoint((await room.create()).provider_vm_id)
            assert await self.run(endpoint, "echo here; exit 3") == (3, "here\n")

        self.play(scene)

    def test_another_provider_object_reaches_the_machine(self) -> None:
        """The endpoint is read, not remembered."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            await room.provider.aclose()
            room.provider = self.make_provider()
            assert await self.sh(room, vm, "echo adopted") == "adopted\n"

        self.play(scene)

    def test_a_new_machine_has_nothing_of_the_old_one_of_its_key(self) -> None:
        """Destroyed is destroyed."""

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

    def test_pause_freezes_every_process_and_resume_lets_them_go_on(self) -> None:
        """No tick while paused, more ticks afterwards."""

        async def scene(room: Room) -> None:
            if not room.has("pause", "resume"):
                return
            vm = await room.create()
            await self.sh(room, vm, _TICKER)
            await room.provider.pause(vm.provider_vm_id)
            await asyncio.sleep(PAUSED_S)
            await room.provider.resume(vm.provider_vm_id)
            wait = "n=$(wc -l < ticks); while [ $(wc -l < ticks) -lt $((n + 2)) ]; do sleep 0.02; done"
            ticks = [float(line) for line in (await self.sh(room, vm, f"{wait}; cat ticks")).split()]
            gaps = [later - sooner for sooner, later in pairwise(ticks)]
            assert max(gaps) >= PAUSED_S

        self.play(scene)

    def test_exec_on_a_paused_machine_has_done_nothing(self) -> None:
        """Neither then nor when it goes on."""

        async def scene(room: Room) -> None:
            if not room.has("pause", "resume", "exec"):
                return
            vm = await room.create()
            await room.provider.pause(vm.provider_vm_id)
            await refused(
                room.provider.exec(vm.provider_vm_id, "touch done", timeout_s=60.0), "vm_not_running"
            )
            await room.provider.resume(vm.provider_vm_id)
            assert await self.sh(room, vm, "test -e done || echo none") == "none\n"

        self.play(scene)

    def test_a_stopped_machine_starts_again_with_its_files(self) -> None:
        """By `resume` as by `create` with its key."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            await self.sh(room, vm, "mkdir -p a; echo kept > a/f; chmod 750 a/f")
            for way in ("create", "resume"):
                if (way == "resume" and not room.has("resume")) or not await self.end_but_keep(vm):
                    return
                if way == "resume":
                    await room.provider.resume(vm.provider_vm_id)
                else:
                    await room.provider.create(room.spec(), key=vm.key)
                assert await self.sh(room, vm, "cat a/f; stat -c %a a/f") == "kept\n750\n"

        self.play(scene)

    def test_a_restored_machine_starts_as_the_snapshot_was(self) -> None:
        """With modes and links; changed later on neither side of the other."""

        async def scene(room: Room) -> None:
            if not room.has("snapshot", "restore"):
                return
            vm, key = await room.create("first"), new_id("snap")
            await self.sh(room, vm, "mkdir -p a; echo then > a/f; chmod 750 a/f; ln -s a/f link")
            snapshot = await room.provider.snapshot(vm.provider_vm_id, key=key)
            await self.sh(room, vm, "echo now > a/f")
            assert await room.provider.snapshot(vm.provider_vm_id, key=key) == snapshot
            copy = await room.create("second", snapshot=snapshot)
            assert copy.provider_vm_id != vm.provider_vm_id
            look = "cat link; readlink link; stat -c %a a/f"
            assert await self.sh(room, copy, look) == "then\na/f\n750\n"
            assert await self.sh(room, vm, "cat a/f") == "now\n"

        self.play(scene)

    def test_a_fork_goes_on_as_its_source_was(self) -> None:
        """Changed later on neither side of the other."""

        async def scene(room: Room) -> None:
            if not room.has("fork"):
                return
            vm = await room.create("first")
            await self.sh(room, vm, "echo then > f")
            copy = room.keep(
                await room.provider.fork(vm.provider_vm_id, room.spec("second"), key=new_id("vm"))
            )
            await self.sh(room, vm, "echo now > f")
            assert await self.sh(room, copy, "cat f") == "then\n"

        self.play(scene)
