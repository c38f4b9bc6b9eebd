"""Who is alive, and who may go on with what: by process on this computer, by beat on others."""

import os
import subprocess
import sys

import pytest
from given import SOME_HOST, ManualClock

from jupyter_rmx.control.worker import (
    SILENT_S,
    Watch,
    new_worker,
    process_is_alive,
    process_mark,
    this_host,
)
from jupyter_rmx.store.operations import WorkerRecord


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def watch(clock):
    return Watch(clock)


def test_a_process_is_alive_only_with_its_own_start_time():
    pid, _, started = process_mark(os.getpid()).partition("-")
    assert process_is_alive(f"{pid}-{started}")
    assert process_is_alive(f"{pid}-{float(started) + 1:.2f}")  # the kernel's boot time moves with the clock
    for mark in (
        f"{pid}-1.00",
        f"{pid}-{float(started) + 60:.2f}",
        "1-0.00",
        "",
        None,
        "nonsense",
        "-",
        "x-1",
    ):
        assert not process_is_alive(mark), mark


def test_a_process_that_ended_is_dead_also_before_it_is_reaped():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        mark = process_mark(child.pid)
        assert process_is_alive(mark)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process_is_alive(mark)
    assert not process_is_alive(mark)
    assert process_mark(child.pid).endswith("-0.00")


def test_a_worker_of_this_computer_is_judged_by_its_process(watch, clock):
    me = new_worker()
    assert (me.host, me.id.startswith("worker_")) == (this_host(), True)
    clock.go_on(100 * SILENT_S)
    assert not watch.is_dead(me)
    assert watch.is_dead(WorkerRecord("worker_1", this_host(), "1-0.00"))


def elsewhere(beat, id_="worker_1"):
    return WorkerRecord(id_, SOME_HOST, process_mark(os.getpid()), beat)


def test_a_worker_elsewhere_is_dead_when_its_beat_has_stood_still_for_long(watch, clock):
    assert not watch.is_dead(elsewhere(7))
    clock.go_on(SILENT_S)
    assert not watch.is_dead(elsewhere(7))
    clock.go_on(1)
    assert watch.is_dead(elsewhere(7))
    assert not watch.is_dead(elsewhere(8)), "it beats again"
    clock.go_on(SILENT_S + 1)
    assert watch.is_dead(elsewhere(8))


def test_a_worker_elsewhere_that_beats_lives_however_long(watch, clock):
    for beat in range(100):
        assert not watch.is_dead(elsewhere(beat))
        clock.go_on(SILENT_S - 1)


def test_one_who_has_just_begun_to_look_takes_nobody_for_dead(clock):
    clock.go_on(1e6)
    assert not Watch(clock).is_dead(elsewhere(3))


def test_workers_elsewhere_are_judged_each_by_its_own_beat(watch, clock):
    for beat in range(3):
        assert not watch.is_dead(elsewhere(beat, "worker_a"))
        watch.is_dead(elsewhere(0, "worker_b"))
        clock.go_on(SILENT_S / 2 + 1)
    assert watch.is_dead(elsewhere(0, "worker_b"))
    assert not watch.is_dead(elsewhere(3, "worker_a"))


@pytest.mark.parametrize("hours", [-30, 30])
def test_no_wall_clock_matters(watch, clock, hours):
    assert not watch.is_dead(elsewhere(1))
    clock.set_back(hours=hours)
    assert not watch.is_dead(elsewhere(1))
    clock.go_on(SILENT_S + 1)
    assert watch.is_dead(elsewhere(1))
