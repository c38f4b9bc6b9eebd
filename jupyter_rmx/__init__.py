"""Remote machines inside Jupyter.

This file stays light: what Jupyter, JupyterLab and IPython ask for is imported when they ask.
"""

from __future__ import annotations

from typing import Any

from jupyter_rmx._version import __version__

__all__ = ["__version__", "load_ipython_extension", "unload_ipython_extension"]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyter-rmx"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from jupyter_rmx.server.extension import RmxExtension

    return [{"module": "jupyter_rmx", "app": RmxExtension}]


def load_ipython_extension(ip: Any) -> None:
    """`%load_ext jupyter_rmx`."""
    from jupyter_rmx.magics import load

    load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """`%unload_ext jupyter_rmx`."""
    from jupyter_rmx.magics import unload

    unload(ip)
