"""The kill test: a process is killed at every boundary of every workflow, and the next one sets the world right.

The points are those that a run passes by itself: the engine's, from the step tables, and the fakes' own, before and
after each effect at the provider or the credit service. `test_every_boundary_is_met` holds them against the tables, so
a new step is covered or missed aloud.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from plane import Plane, check_true
from scenes import SCENES

from jupyter_rmx.control.steps import boundaries

HERE = Path(__file__).parent
ROUNDS = 20 if os.environ.get("RMX_SOAK") else 1
KILLED = 9


@pytest.fixture(scope="module")
def killed():
    """The process that forks; one for all tests of this file."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "killed.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(job):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


async def prepared(scene, folder, url=None):
    folder.mkdir(parents=True)
    plane = Plane(folder, url=url, **scene.options)
    if scene.prepare is not None:
        await scene.prepare(plane)
    return plane


async def settled(plane):
    """Nobody was killed: all is true at once, but for what is put off until its next try."""
    if await plane.operations():
        plane.provider.behave()
        await plane.reconciler.first_round()
        for record in await plane.operations():
            assert await plane.control.leftovers.settle(record.operation.id)
    await check_true(plane)


async def points_of(scene, folder):
    """Everything that one run passes, in order."""
    plane = await prepared(scene, folder)
    passed, count = [], Counter()

    def fake(service):
        def probe(method, moment):
            count[service, method, moment] += 1
            passed.append([service, method, moment, count[service, method, moment]])

        return probe

    plane.control.context.engine._probe = lambda at: passed.append(["engine", at.kind, at.step, at.moment])
    plane.provider._probe, plane.credits._probe = fake("provider"), fake("credits")
    await scene.request(plane)
    points = list(passed)
    await settled(plane)
    await plane.aclose()
    assert points
    return points


@pytest.mark.parametrize("name", SCENES)
async def test_a_process_killed_anywhere_leaves_nothing_behind(name, killed, tmp_path):
    scene = SCENES[name]
    points = await points_of(scene, tmp_path / "record")
    await (await prepared(scene, tmp_path / "before")).aclose()
    for round_ in range(ROUNDS):
        for number, point in enumerate(points):
            folder = tmp_path / f"{round_}-{number}"
            shutil.copytree(tmp_path / "before", folder)
            job = {"folder": str(folder), "url": None, "options": scene.options, "scene": name, "at": point}
            assert killed(job) == KILLED, f"{point} was not passed"
            try:
                await mended(scene, folder)
            except BaseException as error:
                raise AssertionError(f"killed at {point}: {error}") from error


async def mended(scene, folder):
    """The next process: it finds the world true after its first round, and meets the same wish."""
    plane = Plane(folder, **scene.options)
    try:
        plane.provider.behave()
        await plane.reconciler.first_round()
        await check_true(plane)
        if scene.check is not None:
            await scene.check(plane)
        if scene.again is not None:
            await scene.again(plane)
            await check_true(plane)
    finally:
        await plane.aclose()


async def test_every_boundary_is_met(tmp_path):
    met, tables = set(), {}
    for name, scene in SCENES.items():
        passed = await points_of(scene, tmp_path / name)
        met |= {tuple(point[1:]) for point in passed if point[0] == "engine"}
        plane = Plane(tmp_path / name, **scene.options)
        tables |= {workflow.kind: workflow for workflow in plane.control.context.engine.workflows}
        await plane.aclose()
    wanted = {(at.kind, at.step, at.moment) for workflow in tables.values() for at in boundaries(workflow)}
    assert wanted - met == set()
