"""Requests for the kill test: how the world is before, what is asked for, and what holds when it is asked for again."""

from dataclasses import dataclass, field
from typing import Any

from jupyter_rmx.errors import RmxError
from jupyter_rmx.models import VMSpec


@dataclass(frozen=True)
class Scene:
    """`prepare` makes the world, `request` is killed, `check` looks after recovery, `again` is the user's next try."""

    request: Any
    prepare: Any = None
    check: Any = None
    again: Any = None
    options: dict = field(default_factory=dict)


def quietly(request):
    async def quiet(plane):
        try:
            await request(plane)
        except RmxError:
            pass

    return quiet


async def create(plane):
    return await plane.control.create(VMSpec("demo"), key="k")


async def one_demo(plane):
    (vm,) = await plane.control.page()
    assert (vm.name, vm.status) == ("demo", "running")
    assert len(plane.provider.machines()) == 1


async def create_one(plane):
    await create(plane)
    await one_demo(plane)


async def lose_the_answer_of_create(plane):
    plane.provider.lost_answer("create")


SCENES = {
    "create": Scene(create, again=create_one),
    "create-fails": Scene(quietly(create), prepare=lose_the_answer_of_create, again=create_one),
}
