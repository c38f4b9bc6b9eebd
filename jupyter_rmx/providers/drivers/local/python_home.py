"""Which files a machine needs to run our Python: read-only, and no more of the user's home than that."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

# What the guest imports from outside the standard library, with what these import in turn.
_PACKAGES = (
    "jupyter_rmx",
    "asyncssh",
    "cryptography",
    "typing_extensions",
    "cffi",
    "_cffi_backend",
    "pycparser",
)
_SITE_NAMES = {"site-packages", "dist-packages"}


class PythonHome(NamedTuple):
    """`binds`: paths that must be visible; `import_path`: for the guest's `sys.path`; `bin_dir`: where `python` is."""

    executable: str
    binds: tuple[str, ...]
    import_path: tuple[str, ...]
    bin_dir: str


def _place_of(package: str) -> tuple[Path, Path] | None:
    """`(what to show, folder for sys.path)` of an importable package or module."""
    spec = find_spec(package)
    if spec is None or not spec.origin:
        return None
    origin = Path(spec.origin).absolute()
    shown = origin.parent if spec.submodule_search_locations else origin
    folder = shown.parent
    # A site folder is shown whole (wheels keep libraries beside the package); any other folder, such as a checkout, is not.
    return (folder if folder.name in _SITE_NAMES else shown), folder


def _link_chain(executable: Path) -> list[Path]:
    """The executable and every link on the way to the real file."""
    chain = [executable]
    while chain[-1].is_symlink() and len(chain) < 20:
        target = chain[-1].readlink()
        chain.append(Path(os.path.normpath(chain[-1].parent / target)))
    return chain


def python_home() -> PythonHome:
    """The running interpreter, its prefixes and the packages that the guest needs."""
    executable = Path(sys.executable).absolute()
    wanted = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix), Path(sys.base_exec_prefix)]
    wanted += [path.resolve() for path in wanted]
    wanted += [*_link_chain(executable), executable.resolve()]
    import_path: list[str] = []
    for package in _PACKAGES:
        place = _place_of(package)
        if place is not None:
            wanted.append(place[0])
            import_path.append(str(place[1]))
    binds = _outermost([path for path in wanted if path.exists()])
    return PythonHome(str(executable), binds, tuple(dict.fromkeys(import_path)), str(executable.parent))


def _outermost(paths: list[Path]) -> tuple[str, ...]:
    """The paths without those that lie in another one."""
    unique = sorted(set(paths))
    return tuple(str(path) for path in unique if not any(other in path.parents for other in unique))
