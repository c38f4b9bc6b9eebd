"""Asks pip for a Node.js wheel where the system has no usable Node."""

import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NodeFromPyPI(BuildHookInterface):
    """Adds a wheel that carries Node to what the build environment gets (PEP 517 get_requires_for_build_wheel)."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        sys.path.insert(0, str(Path(__file__).parent))
        from node import NODE_WHEEL, system_node_is_usable

        return [] if system_node_is_usable() else [NODE_WHEEL]
