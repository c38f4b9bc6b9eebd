"""Heavy libraries are imported late: not by `import jupyter_rmx`, nor at the start of a server or a kernel."""

import json
import subprocess
import sys

import pytest

HEAVY = ["asyncssh", "sqlalchemy", "ipywidgets", "cryptography", "httpx", "websockets"]


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import jupyter_rmx", [*HEAVY, "IPython", "jupyter_server", "tornado", "asyncio", "psutil"]),
        ("import jupyter_rmx.server.extension", HEAVY),
        ("import jupyter_rmx; jupyter_rmx._jupyter_server_extension_points()", HEAVY),
        ("import jupyter_rmx.magics, jupyter_rmx.magics.vm", HEAVY),
        ("import jupyter_rmx.bootstrap", ["asyncssh", "cryptography", "ipywidgets"]),
        ("from jupyter_rmx.providers.drivers.local import LocalProvider", HEAVY),
    ],
)
def test_what_is_heavy_comes_late(code, forbidden):
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(set({forbidden!r}) & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
