"""What `pip install .` gives: a wheel, built from a clean copy of the sources, with everything enabled."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jupyter_rmx

ROOT = Path(__file__).parents[2]
LABEXTENSION = ROOT / "labextension"
LAB = "jupyter_rmx-{version}.data/data/share/jupyter/labextensions/jupyter-rmx/"
SERVER = "jupyter_rmx-{version}.data/data/etc/jupyter/jupyter_server_config.d/jupyter_rmx.json"
BUILD_S = 600  # fail-safe: more than ten times what it takes
# What a clean clone does not have.
MADE = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "node_modules",
    "lib",
    "build",
    "dist",
    "*.tsbuildinfo",
    "__pycache__",
    ".*_cache",
    "screenshots",
)


@pytest.fixture(scope="module")
def locked():
    """The entries of the lock file, by place; the one with the empty name is our own."""
    return json.loads((LABEXTENSION / "package-lock.json").read_text())["packages"]


@pytest.fixture(scope="module")
def clean_copy(tmp_path_factory):
    copy = tmp_path_factory.mktemp("build") / "clone"
    shutil.copytree(ROOT, copy, ignore=MADE)
    shutil.rmtree(copy / "jupyter_rmx/labextension", ignore_errors=True)
    return copy


@pytest.fixture(scope="module")
def wheel(clean_copy):
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--wheel-dir", "wheels"]
    built = subprocess.run(
        command, cwd=clean_copy, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert built.returncode == 0, (built.stdout + built.stderr)[-4000:]
    (path,) = (clean_copy / "wheels").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def inside(template):
    return template.format(version=jupyter_rmx.__version__)


def test_the_wheel_carries_the_built_lab_extension(wheel):
    names = set(wheel.namelist())
    folder = inside(LAB)
    manifest = json.loads(wheel.read(f"{folder}package.json"))
    assert manifest["name"] == "jupyter-rmx"
    assert f"{folder}{manifest['jupyterlab']['_build']['load']}" in names
    assert f"{folder}static/style.js" in names
    assert json.loads(wheel.read(f"{folder}install.json"))["packageName"] == "jupyter_rmx"


def test_the_wheel_enables_the_server_extension(wheel):
    assert json.loads(wheel.read(inside(SERVER))) == {
        "ServerApp": {"jpserver_extensions": {"jupyter_rmx": True}}
    }


def test_the_wheel_holds_nothing_that_is_only_for_building(wheel):
    foreign = re.compile(r"node_modules|\.ts$|\.map$|(^|/)tests?/|\.pyc$")
    assert [name for name in wheel.namelist() if foreign.search(name)] == []


def test_building_leaves_the_lock_file_as_it_is(wheel, clean_copy):
    built = (clean_copy / "labextension/package-lock.json").read_bytes()
    assert built == (LABEXTENSION / "package-lock.json").read_bytes()


def test_there_is_one_version():
    manifest = json.loads((LABEXTENSION / "package.json").read_text())
    lock = json.loads((LABEXTENSION / "package-lock.json").read_text())
    versions = {manifest["version"], lock["version"], lock["packages"][""]["version"]}
    assert versions == {jupyter_rmx.__version__}


def test_the_lock_file_names_no_registry(locked):
    told = [{**entry, "funding": None, "deprecated": None} for entry in locked.values()]  # words of authors
    assert "://" not in json.dumps(told)
    assert not any("resolved" in entry for entry in locked.values())
    assert "omit-lockfile-registry-resolved=true" in (LABEXTENSION / ".npmrc").read_text().splitlines()


def test_every_locked_package_is_pinned_by_its_hash(locked):
    assert [name for name, entry in locked.items() if name and "integrity" not in entry] == []
