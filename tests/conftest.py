"""What all tests share: pytest-jupyter's plugin, private directories, and the three reasons to skip."""

import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # `pytest` alone does not have the checkout on its path
pytest_plugins = ["pytest_jupyter.jupyter_server", "pytester", "tests.disks", "tests.postgres"]

# `make test` draws the same examples each time, `make soak` new ones and many more.
hypothesis.settings.register_profile("test", derandomize=True, deadline=None, max_examples=300)
hypothesis.settings.register_profile("soak", derandomize=False, deadline=None, max_examples=20_000)
hypothesis.settings.load_profile("soak" if os.environ.get("RMX_SOAK") else "test")

SKIP_REASONS = ("no-shared", "not-this-os", "no-kernel-feature")


@pytest.fixture(autouse=True)
def _private_data_dir(tmp_path, monkeypatch):
    """No test sees the machines, the store or the connection files of the person who runs it."""
    monkeypatch.setenv("JUPYTER_RMX_DATA_DIR", str(tmp_path / "rmx-data"))
    monkeypatch.delenv("JUPYTER_RMX_CONNECTION", raising=False)


def pytest_configure(config):
    """Sessions and their subprocesses share one private runtime directory."""
    folder = tempfile.mkdtemp(prefix="rmx-tests-")
    config.add_cleanup(lambda: _remove(Path(folder)))
    os.environ["JUPYTER_RUNTIME_DIR"] = folder
    for name in ("JUPYTER_TOKEN", "JUPYTER_RMX_DEFAULT_PROVIDER", "JUPYTER_RMX_LOCAL_ISOLATION"):
        os.environ.pop(name, None)


def _remove(folder):
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _reason(report):
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter, config):
    """One closing table of all skips."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("skips")
    for report in skipped:
        reason = _reason(report)
        mark = "  " if reason.startswith(SKIP_REASONS) else "! "
        terminalreporter.line(f"{mark}{report.nodeid}: {reason}")
    terminalreporter.line(
        f"allowed reasons: {', '.join(SKIP_REASONS)}; '!' marks another one, which fails the run"
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A skip for any other reason fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if exitstatus == 0 and any(not _reason(report).startswith(SKIP_REASONS) for report in skipped):
        session.exitstatus = 1
