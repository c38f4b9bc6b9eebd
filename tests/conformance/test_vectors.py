"""Facts on behaviour as data: `RMX_VECTORS` names a folder of them, and `own.json` holds ours."""

import json
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("RMX_VECTORS") or HERE / "vectors")
OTHER_SHAPE = {"cloud.json", "to-beat.json"}


def _bindings():
    scope = {"__name__": "conformance_bindings"}
    exec(compile((HERE / "bindings.py").read_text(), str(HERE / "bindings.py"), "exec"), scope)
    return scope["BINDINGS"], scope["DIFFERENCES"]


BINDINGS, DIFFERENCES = _bindings()


def _vectors(folder=FOLDER):
    files = [path for path in sorted(folder.glob("*.json")) if path.name not in OTHER_SHAPE]
    found = [
        vector for path in [*files, HERE / "own.json"] for vector in json.loads(path.read_text())["vectors"]
    ]
    return [pytest.param(vector, id=vector["id"]) for vector in found if vector["function"] in BINDINGS]


def _expected(vector):
    for function, applies, ours, _why in DIFFERENCES:
        if vector["function"] == function and applies(vector["input"]):
            return ours
    return vector["expected"]


@pytest.mark.parametrize("vector", _vectors())
def test_vector(vector):
    assert BINDINGS[vector["function"]](vector["input"]) == _expected(vector)


def test_every_binding_is_exercised():
    """A lost file or a renamed function must not pass by collecting nothing."""
    seen = {param.values[0]["function"] for param in _vectors(HERE / "vectors")}
    assert seen == set(BINDINGS)


def test_the_own_file_repeats_no_difference():
    """`own.json` says what is right, so no difference may apply to it."""
    own = json.loads((HERE / "own.json").read_text())["vectors"]
    assert own
    for vector in own:
        if vector["function"] in BINDINGS:
            assert BINDINGS[vector["function"]](vector["input"]) == vector["expected"], vector["id"]
