"""A fork of a machine that somebody else put to rest."""

import pytest
from given import planes
from plane import check_true

from jupyter_rmx.models import VMSpec


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


@pytest.mark.parametrize("without", [[], ["fork"]], ids=["native", "by snapshot"])
@pytest.mark.parametrize("said", ["paused", "stopped"])
async def test_a_machine_that_was_paused_from_outside_is_resumed_and_forked(make, without, said):
    plane = make(without=without)
    vm = await plane.control.create(VMSpec("demo"), key="k")
    plane.provider.drift(vm.provider_vm_id, said)
    copy = await plane.use.fork("demo", name="copy", key="k2")
    assert (copy.status, len(plane.provider.machines())) == ("running", 2)
    assert (await plane.use.fork("demo", name="copy", key="k2")).id == copy.id
    await plane.control.get("demo")  # a copy by snapshot needs no machine that runs
    await plane.use.resume("demo")
    await check_true(plane)
