"""Decisions after a failure, as a model of the whole row of failures sees them."""

from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.transports.error_line import best_error_line
from jupyter_rmx.transports.retry import (
    evaluate_bootstrap_retry,
    evaluate_reachability,
    retry_delay_s,
)

FAILURES = st.lists(
    st.sampled_from(["refused", "timeout", "lost", "denied:blocked"]), min_size=1, max_size=12
)


@given(FAILURES)
def test_a_row_of_failures_ends_where_a_person_must_help(failures):
    previous, consecutive, total = None, 0, 0
    for place, failure in enumerate(failures):
        verdict = evaluate_bootstrap_retry(failure, previous, consecutive, total)
        previous, consecutive, total = failure, verdict.consecutive, verdict.total
        row = failures[: place + 1]
        same = len(row) - next((n for n in range(place, -1, -1) if row[n] != failure), -1) - 1
        hopeless = failure.endswith(":blocked") or same >= 3 or len(row) >= 8
        assert (verdict.decision == "suspend") == hopeless, row
        assert (consecutive, total) == (same, len(row))


def test_the_limit_is_the_callers():
    assert evaluate_bootstrap_retry("a", "b", 0, 8, total_max=20).decision == "retry"
    assert evaluate_bootstrap_retry("a", "b", 0, 19, total_max=20).decision == "suspend"
    assert evaluate_bootstrap_retry("a", "a", 2, 2, total_max=20).decision == "suspend"


def test_a_probe_that_cannot_tell_breaks_the_row():
    count = 0
    for outcome in ("unreachable", "unreachable", "indeterminate", "unreachable", "unreachable"):
        found = evaluate_reachability(outcome, count)
        assert found.decision == "retry"
        count = found.unreachable
    assert evaluate_reachability("unreachable", count).decision == "suspend"


def test_delays_double_up_to_a_minute():
    assert [retry_delay_s(n) for n in range(7)] == [3, 3, 6, 12, 24, 48, 60]
    assert retry_delay_s(10**9) == 60
    assert [retry_delay_s(n, first_s=0.5) for n in (1, 2, 3)] == [0.5, 1, 2]


def test_the_best_line_is_one_line_of_the_text():
    noise = "debug1: a\nWarning: Permanently added 'h' (ED25519) to the list of known hosts.\r\nTransferred: sent 1\n"
    assert (
        best_error_line(noise + "kex_exchange_identification: gone\r\n" + noise)
        == "kex_exchange_identification: gone"
    )
    assert best_error_line("\n \n", "\n x \n\n") == "x"
    assert best_error_line("debugger failed") is not None
