"""The embedded provider: machines on this computer, with no account and no network.

provider     LocalProvider, the async face of what follows
machines     make, find, end, copy machines; blocking
launcher     starts a keeper and hears how it went
keeper       a small process of its own per machine: launches it, outlives Jupyter, ends it when it is forgotten;
             its parts are keeping, keeper_pipes and pulse
isolation    bubblewrap, unshare, plain processes: the command line of each
python_home  which files the machine needs to run our Python
processes    identity of processes, freezing and ending a whole machine
layout       names of files, and the record `machine.json`
records      a record told as status, processes, ProviderVM
failures     what can go wrong, in words of our error tree
lock         one machine is made or ended by one at a time
copying      copy and remove a home
snapshots    copies of homes, one for each key
guest/       what runs inside: an SSH server on a Unix socket

The keeper and the guest's launcher import from here with the standard library only, so this file stays empty of imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_rmx.providers.drivers.local.provider import LocalProvider

__all__ = ["LocalProvider"]


def __getattr__(name: str) -> Any:
    if name == "LocalProvider":
        from jupyter_rmx.providers.drivers.local.provider import LocalProvider

        return LocalProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
