"""Only three reasons to skip exist; any other fails the run, and all stand in one closing table."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def run(pytester):
    """Run a test file below our conftest, in a process of its own."""
    pytester.makeconftest(CONFTEST.read_text())

    def run_with(reason):
        pytester.makepyfile(f"import pytest\ndef test_a(): pytest.skip({reason!r})\ndef test_b(): pass")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider")

    return run_with


@pytest.mark.parametrize(
    "reason", ["no-shared", "not-this-os: Windows only", "no-kernel-feature: no namespaces"]
)
def test_the_three_reasons_pass_and_are_listed(run, reason):
    result = run(reason)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*= skips =*", f"  *test_a: {reason}"])


@pytest.mark.parametrize("reason", ["flaky today", "no chromium", ""])
def test_any_other_reason_fails_the_run(run, reason):
    result = run(reason)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*= skips =*", f"! *test_a: {reason}*", "allowed reasons:*"])
