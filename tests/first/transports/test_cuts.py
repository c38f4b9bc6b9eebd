"""Seeded cuts on a real OpenSSH server behind the fault relay: exact output or an error of ours, and nothing is left."""

import asyncio

import pytest

from jupyter_rmx.transports import ssh
from tests.first.transports.cuts import FAIL_SAFE_S, KINDS, LOG_IN, Residue, Story, seeds
from tests.own_host import OwnHost


@pytest.fixture(scope="module")
def host():
    made = OwnHost()
    with (made.folder / "sshd_config").open("a") as config:
        config.write("MaxSessions 100\nMaxStartups 100\n")
    made.stop()
    made.start()
    yield made
    made.finish()


EXIT_BEFORE_OUTPUT = 1561613148
"""Found by the soak: OpenSSH tells that `cat` has ended, then comes the cut, then would have come its output."""


@pytest.mark.parametrize("seed", [*seeds(25, 500), EXIT_BEFORE_OUTPUT])
async def test_a_seeded_cut(host, seed, tmp_path, monkeypatch):
    # A silent peer is given up in 4.5 s, not 12; a computer that is so late that a live one is taken for dead is none.
    monkeypatch.setattr(ssh, "KEEPALIVE_S", 1.5)
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 5.0)
    residue = Residue(host)
    story = Story(host, seed, tmp_path)
    print(f"seed {seed}: {story.fault}, {'workspace' if story.is_workspace else 'VM'}")
    await asyncio.wait_for(story.play(), FAIL_SAFE_S)
    await residue.assert_none()


def test_a_cut_hits_the_work_and_not_only_the_log_in(host, tmp_path):
    """25 seeds that break nothing would prove nothing."""
    faults = [Story(host, seed, tmp_path).fault for seed in range(25)]
    hits = [fault for fault in faults if fault.kind in {"cut", "reset"} and fault.after_bytes > LOG_IN]
    assert len(hits) >= 8
    assert {fault.kind for fault in faults} == set(KINDS)
