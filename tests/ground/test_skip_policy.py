"""Only three reasons to skip exist; any other fails the run, and all stand in one closing table."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
ALLOWED = ["no-shared", "not-this-os: Windows only", "no-kernel-feature: no namespaces"]


@pytest.fixture
def run(pytester):
    """Run tests that skip for these reasons below our conftest, in a process of its own."""
    pytester.makeconftest(CONFTEST.read_text())

    def run_with(reasons):
        tests = "\n".join(f"def test_{n}(): pytest.skip({reason!r})" for n, reason in enumerate(reasons))
        pytester.makepyfile(f"import pytest\ndef test_one_runs(): pass\n{tests}\n")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider")

    return run_with


def test_the_three_reasons_pass_and_are_listed(run):
    result = run(ALLOWED)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*= skips =*", *(f"  *test_{n}: {reason}" for n, reason in enumerate(ALLOWED))]
    )


def test_any_other_reason_fails_the_run(run):
    result = run([*ALLOWED, "flaky today"])
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*= skips =*", "! *test_3: flaky today", "allowed reasons:*"])
    result.assert_outcomes(passed=1, skipped=4)
