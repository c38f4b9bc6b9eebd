"""A provider that answers nonsense, or nothing, or breaks inside: a clear error, and rows that say what is so."""

import asyncio
import logging
from datetime import datetime

import pytest
from given import fails, one_row, planes, settled, until
from plane import check_true

from jupyter_rmx.control.gateway import ProviderGateway
from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import CommandResult, VMSpec
from jupyter_rmx.providers.base import AttachOptions, ProviderVM

AWAY = "vm_cloud_service_unavailable"
NOTHING_LIKE_IT = [None, 5, "", "text", [], {}, object, b"bytes"]


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


@pytest.fixture
def plane(make):
    return make()


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(request, make):
    """On each database: what one takes the other may not."""
    return make(url=request.getfixturevalue("postgres_url") if request.param == "postgresql" else None)


def impatient(plane, seconds=0.05):
    """Its provider has so many seconds for each call."""
    context = plane.control.context
    context._gateways["fake"] = ProviderGateway(plane.provider, call_s=seconds, make_s=seconds)


async def demo(plane):
    return await plane.control.create(VMSpec("demo"), key="k")


async def is_told(operation, awaitable):
    """The error of a provider that did not do `operation` as it should; it may be tried again."""
    error = await fails(AWAY, awaitable)
    assert isinstance(error, ProviderError)
    assert (error.status, error.retryable) == (502, True)
    assert (error.details["operation"], error.details["provider"]) == (operation, "fake")
    return error


def attach(plane):
    return plane.use.attach_endpoint("demo", AttachOptions())


REQUESTS = {
    "pause": lambda plane: plane.use.pause("demo"),
    "exec": lambda plane: plane.use.exec("demo", "true", timeout_s=0.05),
    "attach_endpoint": attach,
    "ssh_endpoint": lambda plane: plane.use.ssh_endpoint("demo"),
    "snapshot": lambda plane: plane.use.snapshot("demo", None),
    "fork": lambda plane: plane.use.fork("demo", name="copy"),
    "destroy": lambda plane: plane.control.destroy("demo"),
}


# --- nonsense


@pytest.mark.parametrize("answer", NOTHING_LIKE_IT, ids=repr)
async def test_a_create_that_is_answered_with_something_else_is_taken_back(plane, answer):
    plane.provider.nonsense("create", answer)
    error = await is_told("create", demo(plane))
    assert "makes no sense" in error.message
    failed = await one_row(plane)
    assert (failed.vm.status, failed.vm.reason_code) == ("failed", AWAY)
    assert plane.provider.machines() == []
    await check_true(plane)
    assert (await demo(plane)).status == "running"


NOT_TO_BE_KEPT = [
    {"provider_vm_id": ""},
    {"provider_vm_id": None},
    {"provider_vm_id": "x" * 257},
    {"provider_vm_id": "a\0b"},
    {"key": "vm_of_somebody_else"},
    {"image": 5},
    {"image": "x" * 10**6},
    {"image": "\ud800"},
    {"image_version": [1]},
    {"details": None},
    {"details": {"at": datetime(2026, 1, 1)}},
    {"details": {"a": {1, 2}}},
    {"details": {"a": float("nan")}},
    {"details": {"a": "\0"}},
    {"details": {"a": "\ud800"}},
    {"details": {"a": "x" * 10**6}},
]


async def test_a_machine_that_cannot_be_kept_is_the_providers_fault_and_taken_back(on_either):
    plane = on_either
    for number, fields in enumerate(NOT_TO_BE_KEPT, 1):
        plane.provider.nonsense("create", replace=fields)
        await is_told("create", demo(plane))
        assert plane.provider.machines() == [], fields
        assert len(plane.provider.calls("create")) == number
    await check_true(plane)
    assert (await demo(plane)).status == "running"


@pytest.mark.parametrize("answer", [[], {}, 5, None, b"x", "", "on fire"], ids=repr)
async def test_a_status_that_is_not_known_counts_as_running(plane, answer, caplog):
    await demo(plane)
    plane.provider.nonsense("status", answer)
    assert (await plane.control.get("demo")).status == "running"
    assert "taken for running" in caplog.text
    await check_true(plane)


@pytest.mark.parametrize(
    "answer",
    [*NOTHING_LIKE_IT, CommandResult(0, None, None), CommandResult(0, b"", b""), CommandResult(True, "", ""),
     CommandResult("0", "", "")],
    ids=repr,
)  # fmt: skip
async def test_a_command_without_an_exit_code_has_not_succeeded(plane, answer):
    await demo(plane)
    plane.provider.nonsense("exec", answer)
    await is_told("exec", plane.use.exec("demo", "true", timeout_s=5))
    assert len(plane.provider.calls("exec")) == 1, "no command runs twice"
    await check_true(plane)


@pytest.mark.parametrize("method", ["attach_endpoint", "ssh_endpoint", "fork"])
@pytest.mark.parametrize("answer", NOTHING_LIKE_IT, ids=repr)
async def test_an_endpoint_or_a_copy_that_is_none_is_taken_back(plane, method, answer):
    await demo(plane)
    plane.provider.nonsense(method, answer)
    await is_told(method, REQUESTS[method](plane))
    assert plane.provider.identities(live=True) == []
    await check_true(plane)


@pytest.mark.parametrize(
    "fields",
    [{"token": None}, {"token": ""}, {"session_id": None}, {"url": None}, {"expires_at": None},
     {"expires_at": datetime(2026, 1, 1)}, {"expires_at": "soon"}, {"daemon": 5}],
    ids=lambda fields: f"{next(iter(fields))}-{next(iter(fields.values()))}",
)  # fmt: skip
async def test_an_endpoint_that_leads_nowhere_is_not_given_out(plane, fields):
    await demo(plane)
    plane.provider.nonsense("attach_endpoint", replace=fields)
    await is_told("attach_endpoint", attach(plane))
    await check_true(plane)
    await attach(plane)


@pytest.mark.parametrize("answer", [None, 5, "", b"x"], ids=repr)
async def test_a_snapshot_without_an_id_is_asked_for_once_more(plane, answer):
    await demo(plane)
    plane.provider.nonsense("snapshot", answer)
    made = await plane.use.snapshot("demo", "n")
    assert [made.provider_snapshot_id] == [snapshot.id for snapshot in plane.provider.snapshots()]
    plane.provider.fail_before("snapshot", times=2)
    await is_told("snapshot", plane.use.snapshot("demo", "n"))
    assert await plane.use.snapshots() == [made]


@pytest.mark.parametrize("answer", [None, 5, "text", {}, ()], ids=repr)
async def test_a_list_that_is_none_ends_nobody(plane, answer, caplog):
    await demo(plane)
    plane.provider.nonsense("list_owned", answer)
    await plane.reconciler.first_round()
    assert "makes no sense" in caplog.text
    await check_true(plane)


NOT_OURS = [
    {"name": None},
    {"name": 5},
    {"key": 5},
    {"key": ""},
    {"key": "x" * 500},
    {"provider_vm_id": 5},
    {"owner": "you"},
    {"owner": None},
    {"details": {"a": {1}}},
    {"image": 5},
]


async def test_what_is_listed_and_is_no_machine_of_ours_is_left_out(on_either, caplog):
    plane = on_either
    vm = await demo(plane)
    weird = {
        "provider_vm_id": "weird",
        "key": "vm_weird",
        "name": "weird",
        "owner": "me",
        "status": "running",
    }
    for fields in NOT_OURS:
        plane.provider.nonsense("list_owned", [5, ProviderVM(**(weird | fields))])
        caplog.clear()
        assert await plane.reconciler._orphans.look("fake") == 0, fields
        assert caplog.text.count("no machine of ours") == 2, fields
    assert await plane.control.page() == [vm]


async def test_an_answer_that_makes_no_sense_is_never_logged(plane, caplog):
    """It may hold a token."""
    caplog.set_level(logging.DEBUG)
    await demo(plane)
    plane.provider.nonsense("attach_endpoint", "s3cret")
    await is_told("attach_endpoint", attach(plane))
    assert "s3cret" not in caplog.text


# --- nothing at all


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("moment", ["called", "committed"])
async def test_a_provider_that_never_answers_is_given_up_in_time(plane, method, moment, monkeypatch):
    monkeypatch.setattr("jupyter_rmx.control.gateway.EXEC_GRACE_S", 0.0)
    await demo(plane)
    impatient(plane)
    plane.provider.hang(method, moment, times=None)
    error = await is_told(method, REQUESTS[method](plane))
    assert "has not answered" in error.message
    await settled(plane)
    if method == "destroy":  # what was to be ended is ended, however long it takes
        plane.control.context._gateways.clear()
        for record in await plane.operations():
            await plane.control.leftovers.settle(record.operation.id)
        assert plane.provider.machines() == []
    if (method, moment) != ("snapshot", "committed"):  # nothing lists snapshots at a provider
        await check_true(plane)


@pytest.mark.parametrize("moment", ["called", "committed"])
async def test_a_create_without_an_answer_is_taken_back(plane, moment):
    impatient(plane)
    plane.provider.hang("create", moment)
    await is_told("create", demo(plane))
    assert plane.provider.machines() == []
    await check_true(plane)


async def test_a_list_does_not_wait_for_one_that_never_answers_for_ever(plane):
    plane.provider.status_is_local = True
    vm = await demo(plane)
    other = await plane.control.create(VMSpec("other"))
    impatient(plane)
    plane.provider.hang("status", about=vm.provider_vm_id)
    plane.provider.drift(other.provider_vm_id, "paused")
    assert [(one.name, one.status) for one in await plane.control.page()] == [
        ("other", "paused"),
        ("demo", "running"),
    ]


# --- a driver that breaks


@pytest.mark.parametrize(
    "error", [OSError("refused"), KeyError("x"), asyncio.TimeoutError(), asyncio.CancelledError(), ValueError("s3cret")],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["fail_before", "lost_answer"])
async def test_whatever_a_driver_raises_is_a_provider_error_and_taken_back(plane, error, kind):
    getattr(plane.provider, kind)("create", error)
    told = await is_told("create", demo(plane))
    assert "s3cret" not in str(told)
    await check_true(plane)
    assert plane.provider.machines() == []


async def test_an_error_of_the_provider_keeps_its_code_and_says_where_it_was(plane):
    await demo(plane)
    plane.provider.fail_before("pause", ProviderError("No.", hint="Pay.", code="vm_no_capacity", status=402))
    error = await fails("vm_no_capacity", plane.use.pause("demo"))
    assert error.details == {"operation": "pause", "provider": "fake", "retryable": False}
    assert (error.status, error.hint) == (402, "Pay.")


@pytest.mark.parametrize("capability", ["pause", "resume", "snapshot", "exec", "ssh_endpoint"])
async def test_what_a_provider_cannot_do_is_said_and_not_tried(make, capability):
    plane = make(without=[capability])
    await demo(plane)
    request = REQUESTS.get(capability, lambda plane: plane.control.context.gateway("fake").resume("x"))
    error = await fails("vm_unsupported", request(plane))
    assert (error.status, error.retryable) == (501, False)
    assert plane.provider.calls(capability) == []
    await check_true(plane)


async def test_a_caller_who_is_cancelled_cancels_the_drivers_call(plane):
    plane.provider.hang("status")
    gateway = plane.control.context.gateway("fake")
    call = asyncio.ensure_future(gateway.status("x"))
    await until(lambda: plane.provider.held("status"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert plane.provider.calls("status", "raised")


async def test_a_driver_that_ignores_the_end_of_its_time_is_left_behind(plane, monkeypatch):
    monkeypatch.setattr("jupyter_rmx.control.gateway.CANCEL_S", 0.01)
    impatient(plane)
    go_on = asyncio.Event()

    async def stubborn(_id):
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return "running"

    monkeypatch.setattr(plane.provider, "status", stubborn)
    await is_told("status", plane.control.context.gateway("fake").status("x"))
    go_on.set()
