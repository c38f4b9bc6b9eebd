"""A real Jupyter server with this extension, in the test's process."""

import pytest


@pytest.fixture
def jp_server_config():
    return {"ServerApp": {"jpserver_extensions": {"jupyter_rmx": True}}}


@pytest.fixture
def rmx(jp_serverapp):
    """The running extension."""
    return jp_serverapp.extension_manager.extension_points["jupyter_rmx"].app


@pytest.fixture
def api(jp_fetch):
    """`await api("vms", method="POST", body={...})` -> (status, JSON); never raises for an error status."""
    import json

    from tornado.httpclient import HTTPClientError

    async def call(*path, method="GET", body=None, headers=None, params=None, raw=None):
        given = {"headers": dict(headers or {}), "method": method, "params": params or {}}
        if raw is not None or body is not None or method in {"POST", "PUT", "PATCH"}:
            given["body"] = raw if raw is not None else json.dumps(body or {})
        try:
            answer = await jp_fetch("rmx", "api", "v1", *path, request_timeout=60, **given)
        except HTTPClientError as error:
            answer = error.response
        return answer.code, json.loads(answer.body)

    return call


@pytest.fixture
def demo(api, jp_asyncio_loop):
    """A machine named demo, destroyed afterwards."""
    run = jp_asyncio_loop.run_until_complete
    status, vm = run(api("vms", method="POST", body={"name": "demo"}, headers={"Idempotency-Key": "demo"}))
    assert status == 200, vm
    yield vm
    status, answer = run(api("vms", vm["id"], method="DELETE"))
    assert (status, answer) == (200, {"ok": True}) or answer["error"] == "vm_not_found"
