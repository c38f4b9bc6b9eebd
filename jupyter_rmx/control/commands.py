"""Exec: one command by the provider's own means, never twice.

A process killed while the command ran cannot know what became of it: the operation fails with
`vm_operation_interrupted`, and the command is not run again.
"""

from __future__ import annotations

from typing import Protocol

from jupyter_rmx.control.context import Context
from jupyter_rmx.control.steps import Run, Step, Workflow
from jupyter_rmx.models import CommandResult, new_id
from jupyter_rmx.store.machines import MachineRecord
from jupyter_rmx.store.store import Transaction

OUTPUT_MAX = 8 * 1024 * 1024
"""Characters of each stream that a buffered answer holds; what is longer is cut, and said to be."""


class CommandRunner(Protocol):
    """Runs a command on a machine whose provider has no exec of its own."""

    async def __call__(self, record: MachineRecord, command: str, *, timeout_s: float) -> CommandResult:
        """To its end; ProviderError `vm_exec_timeout` if it is not done in time."""
        ...


class ExecFlow:
    """The workflow that runs a command."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.runner: CommandRunner | None = None
        step = Step("run", self._exec)
        context.engine.add(Workflow("exec", (step,), finish=self._finish))

    async def exec(self, record: MachineRecord, command: str, *, timeout_s: float) -> CommandResult:
        """Run it on a machine that runs; `vm_not_running` if it does not, and then nothing was run."""
        vm = record.vm
        data = {"machine": vm.name, "command_length": len(command)}
        # The command itself is not kept: it may hold a secret.
        memory = {"record": record, "command": command, "timeout_s": timeout_s}
        run = await self._context.engine.run(Run(new_id("op"), "exec", vm.owner, vm.id, data, memory))
        result: CommandResult = run.memory["result"]
        return result

    async def _exec(self, run: Run) -> None:
        record: MachineRecord = run.memory["record"]
        gateway = self._context.gateway(record.vm.provider)
        command, timeout_s = run.memory["command"], run.memory["timeout_s"]
        if self.runner is not None and not gateway.has("exec"):
            result = await self.runner(record, command, timeout_s=timeout_s)
        else:
            id_ = record.vm.provider_vm_id or ""
            result = await gateway.exec(id_, command, timeout_s=timeout_s)
        run.memory["result"] = _bounded(result)
        run.data["exit_code"] = result.exit_code

    async def _finish(self, tx: Transaction, run: Run) -> None:
        record: MachineRecord = run.memory["record"]
        data = {"command_length": run.data["command_length"], "exit_code": run.data["exit_code"]}
        self._context.tell_use(tx, record.vm, "vm.exec", data, once=run.id)


def _bounded(result: CommandResult) -> CommandResult:
    if max(len(result.stdout), len(result.stderr)) <= OUTPUT_MAX:
        return result
    return CommandResult(result.exit_code, result.stdout[:OUTPUT_MAX], result.stderr[:OUTPUT_MAX], True)
