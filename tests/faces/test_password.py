"""Kernels reach a Jupyter server that has a password and so no token (as under a Hub, they have no login)."""

import urllib.error
import urllib.request

import pytest
from jupyter_server.auth import passwd

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.models import VMSpec
from jupyter_rmx.testing.server import JupyterServer


async def test_a_kernel_needs_no_password(tmp_path):
    options = (
        "--ServerApp.identity_provider_class=jupyter_server.auth.identity.PasswordIdentityProvider",
        f"--PasswordIdentityProvider.hashed_password={passwd('secret')}",
    )
    with JupyterServer(tmp_path, options=options, token="") as server:
        url = f"{server.connection.url}rmx/api/v1/vms"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url)
        assert caught.value.code == 401
        machines = HttpRemoteMachines(server.connection)
        try:
            vm = await machines.create(VMSpec("demo"), key="k")
            assert await machines.list() == [vm]
        finally:
            await machines.destroy("demo")
            await machines.aclose()
