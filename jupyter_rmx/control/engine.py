"""Engine: does workflows step by step, and takes up what a dead process left.

Laws
1. A step is in the store before it is done, and its end is in the store before the next one is done.
2. One worker works on an operation; every write says which, and a worker whose operation was taken over stops.
3. An operation ends `done` or `failed`. One that cannot be ended now is put off, never forgotten.
4. Whoever waits for an operation may go away; the operation goes on.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from jupyter_rmx.clock import Clock
from jupyter_rmx.control.steps import Boundary, Moment, Probe, Run, Step, Workflow, no_probe
from jupyter_rmx.control.worker import new_worker
from jupyter_rmx.errors import RmxError, StoreError, WorkflowError, from_wire
from jupyter_rmx.models import Operation, OperationState
from jupyter_rmx.store.events import NewEvent
from jupyter_rmx.store.operations import OperationRecord
from jupyter_rmx.store.store import Store, Transaction

log = logging.getLogger(__name__)

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 600.0
STOP_S = 5.0
POLL_S = (0.02, 0.5)
"""First and longest pause between two looks at an operation of another process, in seconds."""


class OperationLostError(WorkflowError):
    """Another process took this operation over, since ours did not answer for too long."""

    code = "vm_operation_taken_over"
    retryable = True


class Engine:
    """Does the operations of one process. `probe` is told of every boundary (for the kill test)."""

    def __init__(self, store: Store, clock: Clock, *, probe: Probe = no_probe) -> None:
        self._store = store
        self._clock = clock
        self._probe = probe
        self.worker = new_worker()
        self._enlisted = False
        self._workflows: dict[str, Workflow] = {}
        self._tasks: dict[str, asyncio.Task[Run]] = {}
        self._loose: set[str] = set()

    def add(self, workflow: Workflow) -> None:
        """Know this workflow."""
        self._workflows[workflow.kind] = workflow

    @property
    def workflows(self) -> list[Workflow]:
        """All that are known."""
        return list(self._workflows.values())

    @property
    def loose(self) -> frozenset[str]:
        """Operations of this process that it could not write to the end, as the store failed."""
        return frozenset(self._loose)

    # -- doing --------------------------------------------------------------------------------------------------

    async def run(self, run: Run) -> Run:
        """Do the whole operation; raises what `begin` refuses, or what a step failed with."""
        return await asyncio.shield(await self.start(run))

    async def start(self, run: Run) -> asyncio.Task[Run]:
        """Write the operation down, and go on with it in a task of its own."""
        workflow = self._workflows[run.kind]
        try:
            index = await self._begin(workflow, run)
        except StoreError:
            self._loose.add(run.id)  # it may have been written although nobody said so
            raise
        return self._spawn(run, self._forward(workflow, run, index))

    async def _begin(self, workflow: Workflow, run: Run) -> int:
        now = self._clock.now()
        async with self._store.write() as tx:
            await self.enlist(tx)
            if workflow.begin is not None:
                await workflow.begin(tx, run)
            index = workflow.next_from(0, run)  # which steps there are may depend on what `begin` found
            step = workflow.steps[index]
            if step.before is not None:
                await step.before(tx, run)
            operation = Operation(run.id, run.kind, run.owner, run.vm_id, "running", step.name, now, now)
            await tx.operations.insert(OperationRecord(operation, dict(run.data), self.worker.id))
            self._tell(tx, run, step.name, "running")
        self._enlisted = True
        return index

    async def enlist(self, tx: Transaction) -> None:
        """Be known as a worker; the first write of this process says so. Call `enlisted` once it is kept."""
        if not self._enlisted:
            await tx.workers.insert(self.worker)

    def enlisted(self) -> None:
        """The transaction that said so was kept."""
        self._enlisted = True

    def _spawn(self, run: Run, work: Any) -> asyncio.Task[Run]:
        task: asyncio.Task[Run] = asyncio.ensure_future(work)
        self._tasks[run.id] = task
        task.add_done_callback(lambda done: self._ended(run.id, done))
        return task

    def _ended(self, operation_id: str, task: asyncio.Task[Run]) -> None:
        if self._tasks.get(operation_id) is task:
            del self._tasks[operation_id]
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody waiting is no accident

    async def _forward(self, workflow: Workflow, run: Run, index: int) -> Run:
        try:
            while index < len(workflow.steps):
                step = workflow.steps[index]
                self._pass(run, step, "written")
                await step.do(run)
                self._pass(run, step, "done")
                index = await self._done(workflow, run, index)
        except OperationLostError:
            raise
        except Exception as error:  # also a fault of our own must be undone; it is raised again
            if isinstance(error, StoreError) and await self._is_done(run):
                return run
            await self._failed(workflow, run, index, error)
            raise
        return run

    async def _is_done(self, run: Run) -> bool:
        """True if the end was written, and only the store's answer was lost."""
        try:
            async with self._store.read() as tx:
                record = await tx.operations.get(run.id)
        except RmxError:
            return False
        return record is not None and record.operation.state == "done"

    async def _done(self, workflow: Workflow, run: Run, index: int) -> int:
        """Write that this step is done and the next one begins; returns the next one's index."""
        step, following = workflow.steps[index], workflow.next_from(index + 1, run)
        over = following == len(workflow.steps)
        writes = [step.after, workflow.finish if over else workflow.steps[following].before]
        name = step.name if over else workflow.steps[following].name
        async with self._store.write() as tx:
            for write in writes:
                if write is not None:
                    await write(tx, run)
            await self._save(tx, run, name, "done" if over else "running")
        return following

    # -- undoing ------------------------------------------------------------------------------------------------

    async def _failed(self, workflow: Workflow, run: Run, index: int, error: Exception) -> None:
        known = error if isinstance(error, RmxError) else _internal(error)
        try:
            step = workflow.steps[index] if index < len(workflow.steps) else workflow.steps[-1]
            if workflow.on_error == "retry":
                await self._put_off(run, step.name, "running", known)
            elif isinstance(error, StoreError) and step.after_kill in {"again", "keep"} and step.undo is None:
                # It is done, nothing takes it back, and only the store did not hear of it: told again, not undone.
                known.details.setdefault("cleanup_pending", True)
                self._loose.add(run.id)
            else:
                await self._go_back(workflow, run, index, known)
        except OperationLostError:
            raise
        except Exception as worse:  # the caller hears the first error, not this one
            # The store does not take it now (or our own code failed): this process tries again, see `loose`.
            log.warning(
                "%s %s is left as it is for now: %s", run.kind, run.id, worse, exc_info=_inside(worse)
            )
            self._loose.add(run.id)
            known.details.setdefault("cleanup_pending", True)

    async def _go_back(self, workflow: Workflow, run: Run, index: int, error: RmxError) -> None:
        unwritten = await self._write_failing(workflow, run, index, error)
        try:
            await self._undo(workflow, run, index)
        except RmxError as trouble:
            log.warning("%s %s could not be undone yet: %s", run.kind, run.id, trouble)
            error.details.setdefault("cleanup_pending", True)
            await self._put_off(run, workflow.steps[index].name, "undoing", error)
            return
        if unwritten is not None:  # `failing` has to be in the store before `failed`
            await self._write_failing(workflow, run, index, error, must=True)
        async with self._store.write() as tx:
            if workflow.failed is not None:
                await workflow.failed(tx, run)
            await self._save(tx, run, workflow.steps[0].name, "failed", error=kept_error(error), worker=None)

    async def _write_failing(
        self, workflow: Workflow, run: Run, index: int, error: RmxError, *, must: bool = False
    ) -> Exception | None:
        """Write that it goes back. What the world holds is taken back even if the store does not answer."""
        try:
            async with self._store.write() as tx:
                if workflow.failing is not None:
                    await workflow.failing(tx, run, error)
                await self._save(tx, run, workflow.steps[index].name, "undoing", error=kept_error(error))
        except OperationLostError:
            raise
        except RmxError as trouble:
            if must:
                raise
            return trouble
        return None

    async def _undo(self, workflow: Workflow, run: Run, index: int) -> None:
        for position in range(min(index, len(workflow.steps) - 1), -1, -1):
            step = workflow.steps[position]
            if step.undo is None or workflow.leaves_out(position, run):
                continue
            self._pass(run, step, "undoing")
            await step.undo(run)
            self._pass(run, step, "undone")

    async def _put_off(self, run: Run, step: str, state: OperationState, error: RmxError) -> None:
        async with self._store.write() as tx:
            record = await tx.operations.get(run.id)
            attempts = record.attempts + 1 if record else 1
            await self._save(
                tx,
                run,
                step,
                state,
                error=kept_error(error),
                worker=None,
                retry_at=self._clock.now() + retry_after(attempts),
                attempts=attempts,
            )

    async def _save(self, tx: Transaction, run: Run, step: str, state: OperationState, **more: Any) -> None:
        values = {"step": step, "state": state, "data": dict(run.data), "updated_at": self._clock.now()}
        if not await tx.operations.change(run.id, worker=self.worker.id, values=values | more):
            raise OperationLostError(
                "Another Jupyter took over what this one was doing.", hint="Look at %vm ls, then try again."
            )
        self._tell(tx, run, step, state)

    def _tell(self, tx: Transaction, run: Run, step: str, state: OperationState) -> None:
        data = {"operation": run.id, "kind": run.kind, "vm_id": run.vm_id, "step": step, "state": state}
        tx.events.add(NewEvent(run.owner, "operation.step", self._clock.now(), run.vm_id, run.machine, data))

    def _pass(self, run: Run, step: Step, moment: Moment) -> None:
        self._probe(Boundary(run.kind, step.name, moment))

    # -- taking up ----------------------------------------------------------------------------------------------

    async def take_up(self, record: OperationRecord) -> None:
        """Go on with an operation on which nobody works; the caller knows that its worker is dead, or none.

        Returns when it is over, was put off, or another process was faster. Raises nothing that a step raised.
        """
        operation = record.operation
        workflow = self._workflows.get(operation.kind)
        if workflow is None or operation.id in self._tasks:
            return
        try:
            won = await self._claim(record)
        except StoreError:
            self._loose.add(operation.id)  # it may be ours now
            raise
        if not won:
            return
        self._loose.discard(operation.id)
        run = Run(operation.id, operation.kind, operation.owner, operation.vm_id, dict(record.data))
        task = self._spawn(run, self._resume(workflow, run, record))
        try:
            await asyncio.shield(task)
        except RmxError as error:
            log.info("%s of %s was taken up: %s", operation.kind, operation.vm_id, error)

    async def _claim(self, record: OperationRecord) -> bool:
        values: dict[str, Any] = {"worker": self.worker.id, "retry_at": None}
        async with self._store.write() as tx:
            await self.enlist(tx)
            won = await tx.operations.change(record.operation.id, worker=record.worker, values=values)
        self._enlisted = True
        return won

    async def _resume(self, workflow: Workflow, run: Run, record: OperationRecord) -> Run:
        index = workflow.position(record.operation.step)
        if record.operation.state == "undoing":
            await self._go_back_or_stay(workflow, run, index, _of_wire(record))
            return run
        step = workflow.steps[index]
        # An operation that was put off is not one whose process was killed: its step is simply tried again.
        again = step.after_kill == "again" or record.worker is None
        if again:
            return await self._forward(workflow, run, index)
        if step.after_kill == "keep":
            await self._keep(run, step)
            await self._go_back_or_stay(workflow, run, index, _interrupted())
            return run
        try:
            done = step.after_kill == "look" and step.found is not None and await step.found(run)
        except Exception as error:  # nobody can say now
            await self._stay(run, step.name, error)
            raise
        if done:
            try:
                index = await self._done(workflow, run, index)
            except OperationLostError:
                raise
            except Exception as error:  # as in `_forward`
                await self._failed(workflow, run, index, error)
                raise
            return await self._forward(workflow, run, index)
        await self._go_back_or_stay(workflow, run, index, _interrupted())
        return run

    async def _keep(self, run: Run, step: Step) -> None:
        """Do it again, so that what it made is known; if that fails, there is nothing to know."""
        try:
            await step.do(run)
        except RmxError as error:
            log.info("%s of %s %s made nothing: %s", step.name, run.kind, run.id, error)
            return
        async with self._store.write() as tx:
            if step.after is not None:
                await step.after(tx, run)
            await self._save(tx, run, step.name, "running")

    async def _go_back_or_stay(self, workflow: Workflow, run: Run, index: int, error: RmxError) -> None:
        try:
            await self._go_back(workflow, run, index, error)
        except OperationLostError:
            raise
        except Exception as worse:  # nobody waits for it; it is taken up again
            log.warning("%s %s stays half-done for now: %s", run.kind, run.id, worse, exc_info=_inside(worse))
            self._loose.add(run.id)

    async def _stay(self, run: Run, step: str, error: Exception) -> None:
        """Leave a killed operation as killed, for the next look; `loose` makes this process take it up again."""
        log.warning("%s %s: it is not known whether %s was done: %s", run.kind, run.id, step, error)
        self._loose.add(run.id)

    # -- waiting ------------------------------------------------------------------------------------------------

    async def wait(self, operation_id: str, *, seconds: float) -> bool:
        """Wait until the operation is over or put off; False if it is not by then."""
        deadline = self._clock.monotonic() + seconds
        task = self._tasks.get(operation_id)
        if task is not None:
            await asyncio.wait({task}, timeout=seconds)
            return task.done()
        pause = POLL_S[0]
        while await self._is_worked_on(operation_id):
            if self._clock.monotonic() > deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_S[1])
        return True

    async def _is_worked_on(self, operation_id: str) -> bool:
        async with self._store.read() as tx:
            record = await tx.operations.get(operation_id)
        return record is not None and record.operation.state in {"running", "undoing"} and bool(record.worker)

    def is_mine(self, operation_id: str) -> bool:
        """True while this process works on it."""
        return operation_id in self._tasks

    async def aclose(self, *, stop_s: float = STOP_S) -> None:
        """Let what is being done come to an end for `stop_s` seconds; the rest is taken up by the next process."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=stop_s)
        left = list(self._tasks.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._enlisted:
            try:
                async with self._store.write() as tx:
                    await tx.workers.leave_roles(self.worker.id)
                    await tx.workers.remove([self.worker.id])
            except RmxError as error:
                log.info("This worker is still listed: %s", error)  # it is seen to be dead


def retry_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: doubled each time, up to ten minutes."""
    return timedelta(seconds=min(FIRST_RETRY_S * 2.0 ** (attempts - 1), LONGEST_RETRY_S))


def kept_error(error: RmxError) -> dict[str, Any]:
    """An error as it is kept with its operation."""
    return error.to_wire() | {"status": error.status}


def _interrupted() -> WorkflowError:
    return WorkflowError(
        "The server was stopped in the middle of this.",
        hint="What was begun has been taken back; try again.",
        code="vm_operation_interrupted",
        status=503,
        retryable=True,
    )


def _of_wire(record: OperationRecord) -> RmxError:
    kept = record.operation.error or {}
    return from_wire(kept, int(kept.get("status", 500)))


def _internal(error: Exception) -> RmxError:
    return RmxError(
        "jupyter_rmx failed inside.",
        hint=f"Look for {type(error).__name__} in Jupyter's log.",
        code="internal_error",
    )


def _inside(error: Exception) -> Exception | None:
    return None if isinstance(error, RmxError) else error
