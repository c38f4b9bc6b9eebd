"""Disks that say no: full, and read-only. Real ones, mounted for a test where we may."""

import subprocess
import sys

import pytest


class Disk:
    """A small file system of its own."""

    def __init__(self, folder):
        self.folder = folder

    def fill(self, leave=0):
        """Leave only so many bytes."""
        with (self.folder / "filling").open("wb", buffering=0) as filling:
            try:
                while True:
                    filling.write(bytes(4096))
            except OSError:
                filling.truncate(max(0, filling.tell() - leave))

    def free(self):
        """Take the filling away."""
        (self.folder / "filling").unlink()

    def remount(self, option):
        """Make it `ro` or `rw`."""
        subprocess.run(["mount", "-o", f"remount,{option}", self.folder], check=True)


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 1 MiB, empty at first."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not sys.platform.startswith("linux"):
        pytest.skip("not-this-os: mounts a tmpfs")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no-kernel-feature: may not mount a tmpfs")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
