"""`workspaces`, `questions`, `ssh-hosts`: hosts that the user already has."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_rmx.server.requests import VMRequestHandler, bad_field, text


class WorkspacesHandler(VMRequestHandler):
    """`workspaces`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List them, newest first, with the states of their connections."""
        self.answer({"workspaces": [one.to_wire() for one in await self.rmx.workspaces()]})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Attach a machine; answers when it is ready, or when its server asks something."""
        body = self.vm_object_of_use()
        target = text(body, "target")
        if target is None or not target.strip():
            raise bad_field("target", "There is nothing to attach.", "usage_bad_target")
        force = body.get("force_ssh")
        if force is not None and not isinstance(force, bool):
            raise bad_field("force_ssh", "The field 'force_ssh' is true or false.")
        name, startup = text(body, "name"), text(body, "startup")
        attached = await self.rmx.attach(target, name=name, startup=startup, force_ssh=bool(force))
        self.answer_secret(attached.to_wire())


class WorkspaceHandler(VMRequestHandler):
    """`workspaces/{name}`."""

    @web.authenticated
    @authorized
    async def delete(self, machine: str) -> None:
        """Let go of its connection, and forget it if it is a workspace; nothing is changed on the host."""
        await self.rmx.detach(machine)
        self.answer({"ok": True})


class QuestionHandler(VMRequestHandler):
    """`questions/{id}`. The answers are secrets: no part of the body is ever in an error or a log."""

    @web.authenticated
    @authorized
    async def post(self, question_id: str) -> None:
        """Answer a question, or give up with `answers: null`; the ready machine, or the next question."""
        body = self.vm_object_of_use()
        attached = await self.rmx.answer(question_id, _answers(body))
        self.answer_secret(attached.to_wire())


def _answers(body: dict[str, Any]) -> list[str] | None:
    answers = body.get("answers", "")
    if answers is not None and not (
        isinstance(answers, list) and all(isinstance(one, str) for one in answers)
    ):
        raise bad_field(
            "answers", "The answers are a list of texts, or null to give up.", "usage_bad_answers"
        )
    return answers


class SSHHostsHandler(VMRequestHandler):
    """`ssh-hosts`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The hosts of the user's ssh_config, without patterns."""
        self.answer({"hosts": [host.to_wire() for host in await self.rmx.ssh_hosts()]})
