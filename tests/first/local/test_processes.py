"""Which process is the newest: pids are given upwards, and from the bottom again."""

import subprocess
import sys

import pytest

from jupyter_rmx.providers.drivers.local import processes


@pytest.mark.parametrize(
    ("pids", "last", "order"),
    [
        ([], 5, []),
        ([1, 7, 3], 7, [7, 3, 1]),
        ([1, 7, 3], 0, [7, 3, 1]),  # the last one is not known
        (
            [1, 300, 29000, 32000, 650],
            650,
            [650, 300, 1, 32000, 29000],
        ),  # wrapped: 29000 is older than 1 may be
        ([1, 300, 29000], 32768, [29000, 300, 1]),
    ],
)
def test_newest_first(pids, last, order):
    assert processes.newest_first(pids, last) == order


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not-this-os: needs /proc")
def test_a_new_process_is_looked_at_before_this_one():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        order = processes._pids()
        assert order.index(child.pid) < order.index(1)
