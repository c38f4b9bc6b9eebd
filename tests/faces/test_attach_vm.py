"""Attach and detach of a VM: resumed, connected, let go; the embedded machine, over REST."""

import asyncio


async def test_a_paused_vm_is_resumed_and_connected_and_let_go(rmx, api, demo):
    pool = rmx.manager()._parts.pool
    await api("vms", "demo", "pause", method="POST")
    status, attached = await api("workspaces", method="POST", body={"target": " demo "})
    assert (status, attached["machine"]["status"], attached["question"]) == (200, "running", None)
    assert pool.keys() == [demo["id"]]
    assert await api("workspaces", "demo", method="DELETE") == (200, {"ok": True})
    assert pool.keys() == []
    status, result = await api("vms", "demo", "exec", method="POST", body={"command": "echo on"})
    assert (status, result["stdout"]) == (200, "on\n")


async def test_what_does_not_fit_a_vm_is_refused(api, demo):
    for more, code in (({"name": "other"}, "ssh_has_a_name"), ({"startup": "fish"}, "usage_bad_startup")):
        _, error = await api("workspaces", method="POST", body={"target": "demo"} | more)
        assert error["error"] == code
    status, _ = await api("workspaces", method="POST", body={"target": demo["id"], "name": "demo"})
    assert status == 200


async def test_many_that_attach_a_paused_vm_resume_it_once(rmx, api, demo):
    await api("vms", "demo", "pause", method="POST")
    answers = await asyncio.gather(
        *(api("workspaces", method="POST", body={"target": "demo"}) for _ in range(8))
    )
    assert {status for status, _ in answers} == {200}
    async with rmx.manager()._parts.store.read() as tx:
        audit = await tx.events.audit(rmx.manager()._parts.settings.owner, vm_id=demo["id"])
    assert [event.type for event in audit].count("vm.resumed") == 1


async def test_the_list_of_ssh_hosts_is_a_list_of_names_and_files(api):
    status, answer = await api("ssh-hosts")
    assert (status, list(answer)) == (200, ["hosts"])
    assert all(set(host) == {"name", "source"} for host in answer["hosts"])


async def test_wrong_bodies_are_one_clear_line(api):
    for body, field in (
        ({}, "target"),
        ({"target": 5}, "target"),
        ({"target": "  "}, "target"),
        ({"target": "h", "force_ssh": "yes"}, "force_ssh"),
        ({"target": "h", "name": 1}, "name"),
        ({"target": "h", "startup": []}, "startup"),
    ):
        status, error = await api("workspaces", method="POST", body=body)
        assert (status, error["details"]["field"]) == (400, field)
    for answers in ("text", [1], {}, [None]):
        status, error = await api("questions", "q_1", method="POST", body={"answers": answers})
        assert (status, error["error"]) == (400, "usage_bad_answers")
    assert (await api("questions", "q_1", method="POST", body={}))[0] == 400
    status, error = await api("questions", "q_1", method="POST", body={"answers": ["x"]})
    assert (status, error["error"]) == (404, "ssh_no_such_question")
