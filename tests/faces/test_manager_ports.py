"""What the proxy finds under a label: by name, however many machines there are; nothing is resumed by a page."""

import pytest

from jupyter_rmx.errors import ProviderError, TransportError
from jupyter_rmx.models import SSHEndpoint, SSHTarget, WebSocketEndpoint, endpoint_from_wire
from jupyter_rmx.testing import fake_endpoints

LISTS = ("page", "all_of")


async def test_a_label_is_found_by_name_and_follows_a_new_name(rmx, api, demo, monkeypatch):
    from jupyter_rmx.store.machines import MachineRows

    manager = rmx.manager()
    for name in LISTS:
        monkeypatch.delattr(MachineRows, name)
    target = await manager.lookup(demo["label"])
    assert (target.machine_id, target.name) == (demo["id"], "demo")
    for label in ("demo-00000000", "demo", "", "-", "nobody-3f9a2c41", demo["label"][1:]):
        assert await manager.lookup(label) is None
    status, renamed = await api("vms", demo["id"], method="PATCH", body={"name": "trial"})
    assert status == 200
    for label in (demo["label"], renamed["label"]):
        assert (await manager.lookup(label)).machine_id == demo["id"]


async def test_a_label_of_a_host_follows_its_new_name_and_ends_with_it(rmx):
    manager = rmx.manager()
    await manager.ready()
    host = await manager._workspaces.attach(SSHTarget("me@gpu01.invalid"))  # on the list, never connected
    target = await manager.lookup(host.label)
    assert (target.machine_id, target.name) == (host.id, "gpu01")
    renamed = await manager.rename("gpu01", "big")
    for label in (host.label, renamed.label):
        found = await manager.lookup(label)
        assert (found.machine_id, found.name) == (host.id, "big")
    await manager.detach("big")
    for label in (host.label, renamed.label):
        assert await manager.lookup(label) is None


async def test_a_page_does_not_resume_a_machine_but_a_link_does(rmx, api, demo):
    manager = rmx.manager()
    target = await manager.lookup(demo["label"])
    with pytest.raises(TransportError) as refused:  # it runs, and nothing listens there
        await target.dial(4321)
    assert refused.value.code == "ssh_port_refused"
    await api("vms", "demo", "pause", method="POST")
    with pytest.raises(ProviderError) as caught:
        await target.dial(4321)
    assert (caught.value.code, "%vm resume demo" in caught.value.hint) == ("vm_not_running", True)
    assert (await api("vms", "demo"))[1]["status"] == "paused"
    status, _ = await api("machines", "demo", "ports", "4321", "ticket", method="POST", body={})
    assert (status, (await api("vms", "demo"))[1]["status"]) == (200, "running")


@pytest.mark.parametrize(
    "endpoint",
    [
        SSHEndpoint("me", fake_endpoints.HOST_KEY, host="h", port=2222, password="p"),
        SSHEndpoint("me", "no key", unix_path="/s", client_key="-----BEGIN"),
        SSHEndpoint("me", fake_endpoints.HOST_KEY, host="h"),
    ],
)
def test_an_ssh_endpoint_survives_the_wire(endpoint):
    wire = endpoint.to_wire()
    assert endpoint_from_wire(wire) == endpoint
    assert (wire["public_key_fingerprint"] is None) == (endpoint.host_key == "no key")


def test_a_websocket_endpoint_survives_the_wire_and_a_handle_never_goes_on_it():
    from datetime import datetime, timezone

    then = datetime(2030, 1, 1, tzinfo=timezone.utc)
    daemon = WebSocketEndpoint("wss://d", "t2", "s", then)
    endpoint = WebSocketEndpoint("wss://m", "t", "s", then, {"a": "b"}, "att", daemon)
    assert endpoint_from_wire(endpoint.to_wire()) == endpoint
    assert "handle" not in str(SSHEndpoint("me", "k", host="h", identity_handle="a-handle").to_wire())
