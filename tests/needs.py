"""What the tests need beyond pip: installed with apt where we are root, else listed exactly.

Standard library only: it runs before anything is installed.
"""

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Debian's package -> programs, any of which shows that it is there.
NEEDS = {
    "bubblewrap": ("bwrap",),
    "chromium": ("chromium",),
    "csh": ("bsd-csh",),
    "curl": ("curl",),
    "dropbear-bin": ("dropbear",),
    "fish": ("fish",),
    "libnss-wrapper": ("/usr/lib/*/libnss_wrapper.so",),
    "netcat-openbsd": ("nc.openbsd",),
    "openssh-client": ("ssh",),
    "openssh-server": ("/usr/sbin/sshd",),
    "postgresql": ("initdb", "/usr/lib/postgresql/*/bin/initdb"),
    "tcsh": ("tcsh",),
    "util-linux": ("unshare",),
    "zsh": ("zsh",),
}
FONTS = "fonts-dejavu-core"


def missing() -> list[str]:
    """Names of Debian packages whose programs are not there."""
    return [package for package, programs in NEEDS.items() if not any(map(_is_there, programs))]


def _is_there(program: str) -> bool:
    return any(shutil.which(found, mode=os.F_OK) for found in (glob.glob(program) or [program]))


def install(packages: list[str]) -> None:
    """Install with apt, quietly unless it fails."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
            sys.exit(f"{' '.join(command)} failed")


def main() -> None:
    """Install or list what is missing."""
    absent = missing()
    if not absent:
        return
    if sys.platform.startswith("linux") and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing for the tests:", " ".join(absent))
        install([*absent, FONTS])
        absent = missing()
    if absent:
        print("The tests need programs that are not here. Install these packages (Debian's names):")
        print("    apt-get install", " ".join(absent))
        sys.exit(1)
    if os.geteuid() == 0:  # sshd refuses to start without its privilege separation directory
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


if __name__ == "__main__":
    main()
