"""Lets a process of its own, such as a Jupyter server, find the fake provider as an installed one.

server = JupyterServer(folder)
server.environment.update(fake_environment(folder))
with server: ...   # `--provider fake` works there; FakeProvider(folder) sees here what is done there
"""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_rmx.settings import Settings
from jupyter_rmx.testing.fake_provider import FakeProvider

FOLDER_VARIABLE = "JUPYTER_RMX_FAKE_FOLDER"
"""Environment variable with the folder in which the fake provider keeps its truth."""

_GROUP = "jupyter_rmx.providers"


def provider_from_environment(settings: Settings) -> FakeProvider:
    """What the entry point names; KeyError if the variable is not set."""
    del settings
    return FakeProvider(Path(os.environ[FOLDER_VARIABLE]))


def fake_entry_point(folder: Path) -> Path:
    """Write an installed package's metadata, with the entry point `fake`; returns the folder to put on PYTHONPATH."""
    place = folder / "fake-entry-point"
    info = place / "jupyter_rmx_fake-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jupyter-rmx-fake\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{_GROUP}]\nfake = {__name__}:{provider_from_environment.__name__}\n"
    )
    return place


def fake_environment(folder: Path) -> dict[str, str]:
    """The variables for such a process: PYTHONPATH (with what is on it now) and FOLDER_VARIABLE."""
    path = os.pathsep.join(filter(None, [str(fake_entry_point(folder)), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, FOLDER_VARIABLE: str(folder)}
