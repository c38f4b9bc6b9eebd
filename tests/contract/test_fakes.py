"""The fakes do what their tests rely on: truth that outlives SIGKILL, one journal of all processes, vices that all see."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest

from jupyter_rmx.errors import ProviderError, WorkflowError
from jupyter_rmx.models import CommandResult
from jupyter_rmx.providers.base import AttachOptions, ProviderSpec
from jupyter_rmx.testing.fake_base import ALL, MOMENTS
from jupyter_rmx.testing.fake_credits import CREDIT_METHODS, FakeCredits
from jupyter_rmx.testing.fake_entry import fake_environment
from jupyter_rmx.testing.fake_provider import PROVIDER_METHODS, FakeProvider

FAIL_SAFE_S = 60.0
SPEC = ProviderSpec("demo", "tester")

# One call of one method by a process that may end itself at a moment of it.
_CALLER = """
import asyncio, os, signal, sys
from pathlib import Path
from tests_calls import CALLS
from jupyter_rmx.testing.fake_credits import FakeCredits
from jupyter_rmx.testing.fake_provider import FakeProvider

folder, method, moment = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def probe(called, at):
    if (called, at) == (method, moment):
        os.kill(os.getpid(), signal.SIGKILL)

kind = FakeCredits if method in ("reserve", "refund") else FakeProvider
asyncio.run(CALLS[method](kind(folder, probe=probe)))
print("answered")
"""
_CALLS = """
from jupyter_rmx.providers.base import ProviderSpec

SPEC = ProviderSpec("demo", "tester")
VM = "fake-vm-1"
CALLS = {
    "create": lambda fake: fake.create(SPEC, key="new"),
    "destroy": lambda fake: fake.destroy(VM),
    "status": lambda fake: fake.status(VM),
    "pause": lambda fake: fake.pause(VM),
    "resume": lambda fake: fake.resume(VM),
    "exec": lambda fake: fake.exec(VM, "true", timeout_s=9.0),
    "snapshot": lambda fake: fake.snapshot(VM, key="snap"),
    "fork": lambda fake: fake.fork(VM, SPEC, key="fork"),
    "attach_endpoint": lambda fake: fake.attach_endpoint(VM),
    "ssh_endpoint": lambda fake: fake.ssh_endpoint(VM, key="lease"),
    "revoke_identity": lambda fake: fake.revoke_identity(VM, key="first"),
    "list_owned": lambda fake: fake.list_owned("tester"),
    "heartbeat": lambda fake: fake.heartbeat(),
    "reserve": lambda fake: fake.reserve("tester", 3, key="new"),
    "refund": lambda fake: fake.refund("tester", key="first"),
}
"""
CALLS = {}
exec(_CALLS, CALLS)
CALLS = CALLS["CALLS"]


def _start(folder, method, moment):
    (folder / "tests_calls.py").write_text(_CALLS)
    path = os.pathsep.join([str(folder), os.getcwd()])
    return subprocess.Popen(
        [sys.executable, "-c", _CALLER, str(folder), method, moment],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )


@pytest.fixture
def fake(tmp_path):
    fake = FakeProvider(tmp_path)
    yield fake
    fake.close()


@pytest.fixture
def wallet(tmp_path):
    wallet = FakeCredits(tmp_path, initial=10)
    yield wallet
    wallet.close()


async def _until(question):
    for _ in range(int(FAIL_SAFE_S / 0.01)):
        if question():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never")


def _effects(fake, wallet):
    """All that a call can change."""
    return (
        fake.machines(),
        fake.snapshots(),
        fake.identities(),
        wallet.balance("tester"),
        wallet.reservations(),
    )


CHANGES = {
    "create",
    "destroy",
    "pause",
    "snapshot",
    "fork",
    "ssh_endpoint",
    "revoke_identity",
    "reserve",
    "refund",
}


def test_every_method_is_called_here():
    assert set(CALLS) == {*PROVIDER_METHODS, *CREDIT_METHODS}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("method", CALLS)
async def test_a_process_that_is_killed_leaves_all_of_a_call_or_nothing(
    fake, wallet, tmp_path, method, moment
):
    vm = await fake.create(SPEC, key="first")
    await fake.ssh_endpoint(vm.provider_vm_id, key="first")
    await wallet.reserve("tester", 3, key="first")
    before = _effects(fake, wallet)
    process = _start(tmp_path, method, moment)
    output = await asyncio.to_thread(process.communicate)
    assert (process.returncode, output[0]) == (-signal.SIGKILL, b"")
    has_journal = wallet if method in CREDIT_METHODS else fake
    (call,) = [call for call in has_journal.calls(method) if call.pid == process.pid]
    assert (call.outcome, call.committed) == (("started", False), ("committed", True))[moment == "committed"]
    assert (_effects(fake, wallet) != before) == (moment == "committed" and method in CHANGES)
    # The same call again, by who comes after: with a key, to one effect.
    await CALLS[method](has_journal)
    assert has_journal.most_at_once(method) == 1
    for key in ("new", "fork"):
        assert sum(machine.key == key for machine in fake.machines()) <= 1
    assert wallet.balance("tester") == 10 - sum(one.amount for one in wallet.reservations(live=True))


async def test_one_key_at_once_in_two_processes_makes_one_machine(fake, tmp_path):
    fake.hang("create", times=2)
    processes = [_start(tmp_path, "create", "never") for _ in range(2)]
    await _until(lambda: fake.held("create") == 2)
    assert fake.machines() == []
    fake.release()
    for process in processes:
        assert (await asyncio.to_thread(process.communicate))[0] == b"answered\n"
    assert [machine.key for machine in fake.machines()] == ["new"]
    assert fake.most_at_once("create") == 2
    assert {call.pid for call in fake.calls("create", "answered")} == {process.pid for process in processes}
    numbers = [call.number for call in fake.calls()]
    assert numbers == sorted(set(numbers))


async def test_a_lost_answer_has_done_it_and_one_that_fails_before_has_not(fake):
    fake.fail_before("create", OSError("cable"))
    with pytest.raises(OSError, match="cable"):
        await fake.create(SPEC, key="a")
    assert fake.machines() == []
    fake.lost_answer("create")
    fake.lost_answer("create", TimeoutError())
    with pytest.raises(ProviderError) as caught:
        await fake.create(SPEC, key="a")
    assert caught.value.retryable
    assert caught.value.hint
    with pytest.raises(TimeoutError):
        await fake.create(SPEC, key="a")
    vm = await fake.create(SPEC, key="a")
    assert [machine.id for machine in fake.machines()] == [vm.provider_vm_id]
    assert [(call.outcome, call.committed) for call in fake.calls("create")] == [
        ("raised", False), ("raised", True), ("raised", True), ("answered", True),
    ]  # fmt: skip


async def test_nonsense_is_answered_as_told_and_about_one_machine_only(fake):
    for value in (None, "text", 7):
        fake.nonsense("create", value)
        assert await fake.create(SPEC, key="a") == value
    fake.nonsense("create", replace={"key": "other", "provider_vm_id": "", "status": "rebooting"}, times=None)
    found = await fake.create(SPEC, key="a")
    assert (found.key, found.provider_vm_id, found.status) == ("other", "", "rebooting")
    fake.behave()
    assert (await fake.create(SPEC, key="a")).key == "a"
    one, two = fake.machines()[0].id, (await fake.create(SPEC, key="b")).provider_vm_id
    fake.nonsense("status", "rebooting", about=two, times=None)
    assert [await fake.status(vm_id) for vm_id in (one, two, two)] == ["running", "rebooting", "rebooting"]


async def test_down_refuses_everything_until_up_for_all_objects(fake, tmp_path):
    other = FakeProvider(tmp_path)
    other.down()
    for method in PROVIDER_METHODS:
        with pytest.raises(ProviderError, match="down"):
            await CALLS[method](fake)
    assert (fake.machines(), fake.calls(committed=True)) == ([], [])
    other.up()
    await fake.create(SPEC, key="a")
    other.close()


async def test_what_hangs_is_held_before_or_after_its_effect(fake):
    for moment, there in (("called", 0), ("committed", 1)):
        fake.hang(ALL, moment)
        task = asyncio.ensure_future(fake.create(SPEC, key=moment))
        await _until(lambda: fake.held() == 1)
        assert sum(machine.key == moment for machine in fake.machines()) == there
        fake.release("create")
        assert (await task).key == moment
    fake.hang("create")
    task = asyncio.ensure_future(fake.create(SPEC, key="never"))
    await _until(lambda: fake.held("create") == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.held() == 0
    assert fake.machine("never") is None


async def test_slow_is_slow_at_its_moment(fake, monkeypatch):
    slept, real = [], asyncio.sleep

    async def sleep(seconds):
        slept.append((seconds, len(fake.machines())))
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    fake.slow("create", 100.0)
    fake.slow("create", 200.0, "committed")
    await fake.create(SPEC, key="a")
    assert [entry for entry in slept if entry[0]] == [(100.0, 0), (200.0, 1)]


async def test_a_full_quota_refuses_new_keys_only(fake):
    vm = await fake.create(SPEC, key="a")
    fake.quota(1)
    assert await fake.create(SPEC, key="a") == vm
    for call in (fake.create(SPEC, key="b"), fake.fork(vm.provider_vm_id, SPEC, key="c")):
        with pytest.raises(ProviderError) as caught:
            await call
        assert (caught.value.code, caught.value.status, caught.value.retryable) == (
            "vm_quota_exceeded",
            402,
            False,
        )
    await fake.destroy(vm.provider_vm_id)
    await fake.create(SPEC, key="b")


async def test_a_machine_can_vanish_drift_hide_and_start_slowly(fake):
    fake.hide_new(2)
    fake.start_slowly(2)
    vm = await fake.create(SPEC, key="a")
    assert vm.status == "creating"
    assert [len(await fake.list_owned("tester")) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ProviderError):
        await fake.attach_endpoint(vm.provider_vm_id)
    assert [await fake.status(vm.provider_vm_id) for _ in range(2)] == ["creating", "running"]
    fake.behave()
    fake.drift(vm.provider_vm_id, "rebooting")
    assert await fake.status(vm.provider_vm_id) == "rebooting"
    fake.vanish(vm.provider_vm_id)
    assert await fake.status(vm.provider_vm_id) == "gone"


async def test_tokens_are_new_each_time_unless_the_rpc_token_is_reused(fake):
    vm = await fake.create(SPEC, key="a")

    async def tokens():
        found = [await fake.attach_endpoint(vm.provider_vm_id, AttachOptions(key=f"{n}")) for n in range(2)]
        return len({one.token for one in found}), len({one.daemon.token for one in found})

    assert await tokens() == (2, 2)
    fake.reuse_rpc_tokens()
    assert await tokens() == (2, 1)


async def test_an_identity_stays_when_its_machine_goes(tmp_path):
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    fake = FakeProvider(tmp_path, now=lambda: noon)
    vm = await fake.create(SPEC, key="a")
    endpoint = await fake.ssh_endpoint(vm.provider_vm_id, key="lease")
    assert endpoint.expires_at == noon + timedelta(minutes=15)
    assert endpoint.password
    await fake.destroy(vm.provider_vm_id)
    assert [one.handle for one in fake.identities(live=True)] == [endpoint.identity_handle]
    await fake.revoke_identity(vm.provider_vm_id, key="other", handle=endpoint.identity_handle)
    assert [one.revoked for one in fake.identities()] == [True]
    assert fake.identities(live=True) == []
    fake.close()


async def test_exec_is_scripted_and_does_nothing_on_a_paused_machine(tmp_path):
    fake = FakeProvider(tmp_path, run=lambda command: CommandResult(0, command, ""))
    vm_id = (await fake.create(SPEC, key="a")).provider_vm_id
    fake.script({"a": CommandResult(7, "", "no"), "b": ValueError("b")})
    assert (await fake.exec(vm_id, "a", timeout_s=9.0)).exit_code == 7
    assert (await fake.exec(vm_id, "other", timeout_s=9.0)).stdout == "other"
    with pytest.raises(ValueError, match="b"):
        await fake.exec(vm_id, "b", timeout_s=9.0)
    await fake.pause(vm_id)
    with pytest.raises(ProviderError):
        await fake.exec(vm_id, "a", timeout_s=9.0)
    assert [call.committed for call in fake.calls("exec")] == [True, True, True, False]
    assert len(fake.calls("exec", about="a")) == 2
    fake.close()


async def test_a_capability_that_it_has_not_is_never_called(tmp_path):
    fake = FakeProvider(tmp_path, without=["fork"])
    vm = await fake.create(SPEC, key="a")
    with pytest.raises(AssertionError, match="fork"):
        await fake.fork(vm.provider_vm_id, SPEC, key="b")
    fake.close()


async def test_credits_are_taken_and_given_back_once_per_key(wallet):
    for _ in range(2):
        await wallet.reserve("tester", 6, key="a")
    with pytest.raises(WorkflowError) as caught:
        await wallet.reserve("tester", 6, key="b")
    assert (caught.value.code, caught.value.status) == ("vm_create_credits_insufficient", 402)
    assert caught.value.details == {"amount": 6}
    await wallet.refund("tester", key="unknown")
    for _ in range(2):
        await wallet.refund("tester", key="a")
    assert wallet.balance("tester") == 10
    assert [(one.key, one.refunded) for one in wallet.reservations()] == [("a", True)]
    wallet.set_balance("tester", 5)
    wallet.lost_answer("reserve")
    with pytest.raises(WorkflowError) as caught:
        await wallet.reserve("tester", 5, key="c")
    assert (caught.value.code, caught.value.retryable) == ("vm_billing_unavailable", True)
    assert wallet.balance("tester") == 0


def test_another_process_finds_the_fake_provider_by_its_entry_point(fake, tmp_path):
    code = """
import asyncio
from jupyter_rmx.providers.base import ProviderSpec
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.settings import Settings
provider = ProviderRegistry(Settings(default_provider="fake")).get("fake")
asyncio.run(provider.create(ProviderSpec("demo", "tester"), key="a"))
"""
    environment = os.environ | fake_environment(tmp_path)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [machine.key for machine in fake.machines()] == ["a"]
