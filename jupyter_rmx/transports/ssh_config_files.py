"""The files of ssh_config(5) on this computer: which there are, and what `Include` in them means.

Source: ssh_config(5), "Include": patterns of glob(7), `~`, and names that are relative to `~/.ssh` in a user's file, to
`/etc/ssh` in the system's. What cannot be read is left out, as by ssh.
"""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from jupyter_rmx.models import SSHHost
from jupyter_rmx.ssh.config import ConfigText, host_names
from jupyter_rmx.ssh.options import expand_home

SYSTEM = Path("/etc/ssh/ssh_config")
FILE_MAX = 4 << 20
"""Bytes of a file; what is longer is no configuration."""
FILES_MAX = 1000


class ConfigFiles:
    """The configuration of the user with that home directory."""

    def __init__(self, home: str, *, system: Path = SYSTEM) -> None:
        self._home = home
        self._system = system

    def read(self) -> list[ConfigText]:
        """The user's file, then the system's, as far as they are there."""
        files = (self._user / "config", self._system)
        return [found for path in files if (found := _text(path)) is not None]

    @property
    def _user(self) -> Path:
        return Path(self._home) / ".ssh"

    def include(self, pattern: str, source: str) -> Sequence[ConfigText]:
        """The files that `Include pattern` in `source` names, in order."""
        folder = self._system.parent if Path(source).is_relative_to(self._system.parent) else self._user
        path = os.path.join(folder, expand_home(pattern, self._home))  # noqa: PTH118 - a pattern is no path
        found = sorted(glob.glob(path))  # noqa: PTH207 - a pattern of a person, also an absolute one
        return [text for name in found[:FILES_MAX] if (text := _text(Path(name))) is not None]


def _text(path: Path) -> ConfigText | None:
    try:
        if not path.is_file() or path.stat().st_size > FILE_MAX:
            return None
        return str(path), path.read_text(errors="replace")
    except OSError:
        return None


async def hosts_of_config(home: str) -> Sequence[SSHHost]:
    """The hosts that the user's configuration names; read in a thread, for homes on slow disks."""
    files = ConfigFiles(home)
    return await asyncio.to_thread(lambda: host_names(files.read(), files.include))
