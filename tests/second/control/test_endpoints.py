"""Endpoints that are asked for at the same time."""

import asyncio

import pytest
from given import planes
from plane import check_true

from jupyter_rmx.models import VMSpec


@pytest.fixture
def make(tmp_path, jp_asyncio_loop):
    with planes(tmp_path, jp_asyncio_loop) as make:
        yield make


async def test_two_that_are_made_at_once_do_not_end_each_other(make):
    plane = make()
    await plane.control.create(VMSpec("demo"), key="k")
    revoke_all_of, came, both = plane.control.leases.revoke_all_of, [], asyncio.Event()

    async def when_both_have_theirs(*given, **more):
        came.append(1)
        if len(came) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 60)
        return await revoke_all_of(*given, **more)

    plane.control.leases.revoke_all_of = when_both_have_theirs
    await asyncio.gather(*(plane.use.ssh_endpoint("demo") for _ in range(2)))
    assert len(plane.provider.identities()) == 2
    assert len(plane.provider.identities(live=True)) == 1, "the later one ends the earlier, and lives"
    await check_true(plane)
