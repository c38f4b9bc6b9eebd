"""LifecycleContract: the laws of VMProvider that need no shell on the machine. See `provider_contract`."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import CommandResult, Endpoint, SSHEndpoint, new_id
from jupyter_rmx.providers.base import AttachOptions, ProviderSpec, ProviderVM, VMProvider

OPTIONAL = frozenset(
    {"pause", "resume", "snapshot", "restore", "fork", "exec", "ssh_endpoint", "revoke_identity"}
)
"""All that `capabilities` may name."""

EXEC_FAILS = ("echo out; echo err >&2; exit 3", CommandResult(3, "out\n", "err\n"))
"""A command for `exec`, and what comes of it; a provider without a real shell is scripted so."""

EXEC_TOO_LONG = "sleep 600"
"""A command for `exec` that is not done in time."""


class Room:
    """One provider and the machines that a test made with it."""

    def __init__(self, provider: VMProvider) -> None:
        self.provider = provider
        self.owner = f"contract-{secrets.token_hex(4)}"
        self.made: set[str] = set()

    def spec(self, name: str = "demo", snapshot: str | None = None) -> ProviderSpec:
        """A machine of this room's owner."""
        return ProviderSpec(name=name, owner=self.owner, snapshot=snapshot)

    async def create(
        self, name: str = "demo", *, key: str | None = None, snapshot: str | None = None
    ) -> ProviderVM:
        """A machine that the test's end will destroy."""
        return self.keep(await self.provider.create(self.spec(name, snapshot), key=key or new_id("vm")))

    def keep(self, vm: ProviderVM) -> ProviderVM:
        """Let the test's end destroy it."""
        self.made.add(vm.provider_vm_id)
        return vm

    async def listed(self) -> dict[str, str]:
        """The owner's machines: `{id: status}`."""
        found = await self.provider.list_owned(self.owner)
        assert len({vm.provider_vm_id for vm in found}) == len(found)
        return {vm.provider_vm_id: vm.status for vm in found}

    def has(self, *capabilities: str) -> bool:
        """True if the provider has all of these."""
        return set(capabilities) <= self.provider.capabilities


async def refused(call: Awaitable[object], code: str) -> ProviderError:
    """The call must raise a ProviderError with this code, and a hint."""
    with pytest.raises(ProviderError) as caught:
        await call
    assert caught.value.code == code
    assert caught.value.message
    assert caught.value.hint
    return caught.value


class LifecycleContract(ABC):
    """Inherit and implement `make_provider`; `end_but_keep` too if machines can be `stopped`."""

    @abstractmethod
    def make_provider(self) -> VMProvider:
        """A new provider object; all objects of one test must see the same machines."""

    async def end_but_keep(self, vm: ProviderVM) -> bool:
        """Make the machine `stopped`, as a restart of its host would; False if that cannot be had here."""
        del vm
        return False

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

    async def each_needs_it_running(self, room: Room, vm_id: str, code: str = "vm_not_running") -> None:
        """Every call that needs a running machine is refused."""
        provider = room.provider
        await refused(provider.attach_endpoint(vm_id), code)
        if room.has("exec"):
            await refused(provider.exec(vm_id, "echo", timeout_s=60.0), code)
        if room.has("ssh_endpoint"):
            await refused(provider.ssh_endpoint(vm_id, key=new_id("lease")), code)

    # --- create, look, destroy

    def test_capabilities_name_methods_that_exist(self) -> None:
        """`restore` is `create` with a snapshot; the others are methods."""

        async def scene(room: Room) -> None:
            assert room.provider.capabilities <= OPTIONAL
            for name in room.provider.capabilities - {"restore"}:
                assert callable(getattr(room.provider, name))
            assert room.has("pause") == room.has("resume")
            assert room.has("revoke_identity") or not room.has("ssh_endpoint")
            assert isinstance(room.provider.status_is_local, bool)
            assert room.provider.name

        self.play(scene)

    def test_create_gives_a_running_machine(self) -> None:
        """Ready means: an endpoint can be had with no waiting in between."""

        async def scene(room: Room) -> None:
            vm = await room.create("demo", key=(key := new_id("vm")))
            assert (vm.key, vm.name, vm.owner, vm.status) == (key, "demo", room.owner, "running")
            assert vm.provider_vm_id
            assert await room.provider.status(vm.provider_vm_id) == "running"
            await room.provider.attach_endpoint(vm.provider_vm_id)

        self.play(scene)

    def test_the_same_key_gives_the_same_machine(self) -> None:
        """One after the other, at the same time, and from another provider object."""

        async def scene(room: Room) -> None:
            key = new_id("vm")
            other = self.make_provider()
            first = await room.create(key=key)
            again = await room.provider.create(room.spec(), key=key)
            both = await asyncio.gather(
                room.provider.create(room.spec(), key=key), other.create(room.spec(), key=key)
            )
            await other.aclose()
            assert {vm.provider_vm_id for vm in (again, *both)} == {first.provider_vm_id}
            assert {vm.key for vm in (again, *both)} == {key}
            assert list(await room.listed()) == [first.provider_vm_id]

        self.play(scene)

    def test_two_creates_at_once_with_one_key_make_one_machine(self) -> None:
        """No machine may be made and then forgotten."""

        async def scene(room: Room) -> None:
            key = new_id("vm")
            other = self.make_provider()
            one, two = await asyncio.gather(room.create(key=key), other.create(room.spec(), key=key))
            await other.aclose()
            assert one.provider_vm_id == two.provider_vm_id
            assert list(await room.listed()) == [one.provider_vm_id]

        self.play(scene)

    def test_another_provider_object_knows_the_machine(self) -> None:
        """Letting go of the provider ends no machine; status and key are read, not remembered."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            await room.provider.aclose()
            room.provider = self.make_provider()
            assert await room.provider.status(vm.provider_vm_id) == "running"
            assert await room.provider.list_owned(room.owner) == [vm]

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
            for vm_id in (vm.provider_vm_id, "never-was", "../../etc"):
                await room.provider.destroy(vm_id)
                assert await room.provider.status(vm_id) == "gone"
                await self.each_needs_it_running(room, vm_id)
                if room.has("pause"):
                    await refused(room.provider.pause(vm_id), "vm_not_running")
                    await refused(room.provider.resume(vm_id), "vm_not_running")
                if room.has("snapshot"):
                    await refused(room.provider.snapshot(vm_id, key=new_id("snap")), "vm_not_running")
                if room.has("fork"):
                    await refused(
                        room.provider.fork(vm_id, room.spec("copy"), key=new_id("vm")), "vm_not_running"
                    )
            assert await room.listed() == {}

        self.play(scene)

    def test_a_key_makes_a_new_machine_after_destroy(self) -> None:
        """It is free again."""

        async def scene(room: Room) -> None:
            key = new_id("vm")
            old = await room.create("old", key=key)
            await room.provider.destroy(old.provider_vm_id)
            new = await room.create("new", key=key)
            assert (new.name, new.status) == ("new", "running")
            assert await room.listed() == {new.provider_vm_id: "running"}

        self.play(scene)

    def test_heartbeat_is_harmless(self) -> None:
        """It may come before there is any machine."""

        async def scene(room: Room) -> None:
            await room.provider.heartbeat()
            vm = await room.create()
            await room.provider.heartbeat()
            assert await room.provider.status(vm.provider_vm_id) == "running"

        self.play(scene)

    # --- pause, resume, stopped

    def test_a_paused_machine_is_refused_where_it_must_run(self) -> None:
        """Pause and resume are repeatable; nothing else wakes it."""

        async def scene(room: Room) -> None:
            if not room.has("pause", "resume"):
                return
            vm = await room.create()
            await room.provider.resume(vm.provider_vm_id)
            for _ in range(2):
                await room.provider.pause(vm.provider_vm_id)
                assert await room.provider.status(vm.provider_vm_id) == "paused"
            await self.each_needs_it_running(room, vm.provider_vm_id)
            assert await room.listed() == {vm.provider_vm_id: "paused"}
            for _ in range(2):
                await room.provider.resume(vm.provider_vm_id)
                assert await room.provider.status(vm.provider_vm_id) == "running"
            await room.provider.attach_endpoint(vm.provider_vm_id)

        self.play(scene)

    def test_a_paused_machine_can_be_destroyed(self) -> None:
        """Frozen processes are no reason to stay."""

        async def scene(room: Room) -> None:
            if not room.has("pause"):
                return
            vm = await room.create()
            await room.provider.pause(vm.provider_vm_id)
            await room.provider.destroy(vm.provider_vm_id)
            assert await room.provider.status(vm.provider_vm_id) == "gone"

        self.play(scene)

    def test_a_stopped_machine_is_kept_and_starts_again(self) -> None:
        """By `resume`, and by `create` with its key; it stays the same machine."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            ways: list[Callable[[], Awaitable[Any]]] = [lambda: room.provider.create(room.spec(), key=vm.key)]
            if room.has("resume"):
                ways.append(lambda: room.provider.resume(vm.provider_vm_id))
            for start in ways:
                if not await self.end_but_keep(vm):
                    return
                assert await room.provider.status(vm.provider_vm_id) == "stopped"
                assert await room.listed() == {vm.provider_vm_id: "stopped"}
                await self.each_needs_it_running(room, vm.provider_vm_id)
                if room.has("pause"):
                    await refused(room.provider.pause(vm.provider_vm_id), "vm_not_running")
                await start()
                assert await room.listed() == {vm.provider_vm_id: "running"}
                await room.provider.attach_endpoint(vm.provider_vm_id)

        self.play(scene)

    def test_a_stopped_machine_can_be_destroyed(self) -> None:
        """Then it is gone, and nothing starts it again."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            if not await self.end_but_keep(vm):
                return
            await room.provider.destroy(vm.provider_vm_id)
            assert await room.provider.status(vm.provider_vm_id) == "gone"
            if room.has("resume"):
                await refused(room.provider.resume(vm.provider_vm_id), "vm_not_running")
            assert await room.listed() == {}

        self.play(scene)

    # --- snapshot, restore, fork

    def test_the_same_key_gives_the_same_snapshot(self) -> None:
        """One after the other, at the same time, from another provider object; another key gives another one."""

        async def scene(room: Room) -> None:
            if not room.has("snapshot"):
                return
            vm_id, key = (await room.create()).provider_vm_id, new_id("snap")
            other = self.make_provider()
            both = await asyncio.gather(
                room.provider.snapshot(vm_id, key=key), other.snapshot(vm_id, key=key, name="again")
            )
            later = await other.snapshot(vm_id, key=key)
            await other.aclose()
            assert len({*both, later}) == 1
            assert later
            assert await room.provider.snapshot(vm_id, key=new_id("snap")) != later
            assert await room.listed() == {vm_id: "running"}

        self.play(scene)

    def test_a_restored_machine_is_one_of_its_own(self) -> None:
        """Also after the first is gone; and the same key restores once."""

        async def scene(room: Room) -> None:
            if not room.has("snapshot", "restore"):
                return
            vm = await room.create("first")
            snapshot = await room.provider.snapshot(vm.provider_vm_id, key=new_id("snap"))
            await room.provider.destroy(vm.provider_vm_id)
            copy = await room.create("second", snapshot=snapshot)
            again = await room.create("second", key=copy.key, snapshot=snapshot)
            assert copy.key != vm.key
            assert again == copy
            assert await room.listed() == {copy.provider_vm_id: "running"}

        self.play(scene)

    def test_an_unknown_snapshot_is_refused_and_leaves_nothing(self) -> None:
        """Also one that looks like a path."""

        async def scene(room: Room) -> None:
            if not room.has("restore"):
                return
            for snapshot in ("snap-0000000000000000", "../../etc"):
                await refused(room.create(snapshot=snapshot), "vm_snapshot_not_found")
            assert await room.listed() == {}

        self.play(scene)

    def test_the_same_key_gives_the_same_fork(self) -> None:
        """The fork is a machine of its own, and its source goes on."""

        async def scene(room: Room) -> None:
            if not room.has("fork"):
                return
            vm, key = await room.create("first"), new_id("vm")
            other = self.make_provider()
            forks = await asyncio.gather(
                *(
                    provider.fork(vm.provider_vm_id, room.spec("second"), key=key)
                    for provider in (room.provider, other)
                )
            )
            forks.append(await other.fork(vm.provider_vm_id, room.spec("second"), key=key))
            await other.aclose()
            (copy_id,) = {room.keep(fork).provider_vm_id for fork in forks}
            assert {(fork.key, fork.name, fork.owner) for fork in forks} == {(key, "second", room.owner)}
            assert await room.listed() == {vm.provider_vm_id: "running", copy_id: "running"}
            await room.provider.destroy(vm.provider_vm_id)
            assert await room.listed() == {copy_id: "running"}

        self.play(scene)

    # --- exec and endpoints

    def test_exec_tells_the_exit_code_and_both_outputs(self) -> None:
        """A command that fails is an answer, not an error."""

        async def scene(room: Room) -> None:
            if not room.has("exec"):
                return
            vm = await room.create()
            command, expected = EXEC_FAILS
            assert await room.provider.exec(vm.provider_vm_id, command, timeout_s=60.0) == expected

        self.play(scene)

    def test_exec_gives_up_in_time(self) -> None:
        """The machine goes on."""

        async def scene(room: Room) -> None:
            if not room.has("exec"):
                return
            vm = await room.create()
            await refused(
                room.provider.exec(vm.provider_vm_id, EXEC_TOO_LONG, timeout_s=0.2), "vm_exec_timeout"
            )
            assert await room.provider.status(vm.provider_vm_id) == "running"

        self.play(scene)

    def test_the_endpoints_repr_shows_no_secret(self) -> None:
        """Reprs end in logs."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            found: list[Endpoint] = [await room.provider.attach_endpoint(vm.provider_vm_id)]
            if room.has("ssh_endpoint"):
                found.append(await room.provider.ssh_endpoint(vm.provider_vm_id, key=new_id("lease")))
            for endpoint in found:
                secret = secrets_of(endpoint)
                assert secret
                assert [text for text in secret if text in repr(endpoint)] == []

        self.play(scene)

    def test_an_attach_that_requires_a_daemon_has_one_or_fails(self) -> None:
        """Never a terminal alone."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            options = AttachOptions(key=new_id("lease"), require_daemon=True)
            try:
                endpoint = await room.provider.attach_endpoint(vm.provider_vm_id, options)
            except ProviderError as error:
                assert error.code == "vm_attach_transport_unsupported"
                assert error.hint
            else:
                assert not isinstance(endpoint, SSHEndpoint)
                assert endpoint.daemon is not None

        self.play(scene)

    def test_an_attach_keeps_the_callers_names_of_its_session(self) -> None:
        """Where there are sessions."""

        async def scene(room: Room) -> None:
            vm = await room.create()
            options = AttachOptions(key=new_id("lease"), session_id="session-1", attachment_id="attach-1")
            endpoint = await room.provider.attach_endpoint(vm.provider_vm_id, options)
            if not isinstance(endpoint, SSHEndpoint):
                assert (endpoint.session_id, endpoint.attachment_id) == ("session-1", "attach-1")

        self.play(scene)

    def test_one_key_has_one_identity(self) -> None:
        """Asked again, at the same time, and by another provider object; another key has another one."""

        async def scene(room: Room) -> None:
            if not room.has("ssh_endpoint"):
                return
            vm_id, key = (await room.create()).provider_vm_id, new_id("lease")
            other = self.make_provider()
            found = await asyncio.gather(
                *(provider.ssh_endpoint(vm_id, key=key) for provider in (room.provider, other, other))
            )
            await other.aclose()
            (handle,) = {endpoint.identity_handle for endpoint in found}
            assert handle
            another = await room.provider.ssh_endpoint(vm_id, key=new_id("lease"))
            assert another.identity_handle != handle

        self.play(scene)

    def test_revoke_is_repeatable(self) -> None:
        """What was revoked, never made, or made on a machine that is gone, is success; with the handle or without."""

        async def scene(room: Room) -> None:
            if not room.has("revoke_identity"):
                return
            vm_id, key = (await room.create()).provider_vm_id, new_id("lease")
            handle = None
            if room.has("ssh_endpoint"):
                handle = (await room.provider.ssh_endpoint(vm_id, key=key)).identity_handle
            for _ in range(2):
                await room.provider.revoke_identity(vm_id, key=key, handle=handle)
                await room.provider.revoke_identity(vm_id, key=key)
            await room.provider.revoke_identity(vm_id, key=new_id("lease"))
            await room.provider.revoke_identity("never-was", key=new_id("lease"), handle="never-was")
            await room.provider.destroy(vm_id)
            await room.provider.revoke_identity(vm_id, key=key, handle=handle)

        self.play(scene)


def secrets_of(endpoint: Endpoint) -> list[str]:
    """All texts in it that nobody else may see."""
    if isinstance(endpoint, SSHEndpoint):
        secret = [endpoint.client_key, endpoint.password, endpoint.identity_handle]
    else:
        secret = [endpoint.token, *endpoint.headers.values()]
        secret += secrets_of(endpoint.daemon) if endpoint.daemon else []
    return [text for text in secret if text]
