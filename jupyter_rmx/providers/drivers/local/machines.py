"""Makes, finds, ends and copies embedded machines. Blocking, for threads; POSIX only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import SSHEndpoint
from jupyter_rmx.providers.base import ProviderSpec, ProviderStatus, ProviderVM
from jupyter_rmx.providers.drivers.local import (
    copying,
    failures,
    freezing,
    isolation,
    launcher,
    layout,
    processes,
    snapshots,
)
from jupyter_rmx.providers.drivers.local.launcher import Cancel
from jupyter_rmx.providers.drivers.local.layout import MachineDir, Record
from jupyter_rmx.providers.drivers.local.lock import GaveUpError, locked
from jupyter_rmx.providers.drivers.local.python_home import PythonHome, python_home
from jupyter_rmx.providers.drivers.local.records import machine_of, marker_of, status_of, vm_of

START_TIMEOUT_S = 60.0
USERNAME = "rmx"


class CancelledStartError(Exception):
    """The start was given up because its caller asked for that; nothing of it is left."""


@dataclass
class Attempt:
    """One start: how to give it up, and whether it made the machine, or only found it or started it again."""

    cancel: Cancel
    made: bool = False


class Machines:
    """All embedded machines below one folder."""

    def __init__(self, root: Path, *, orphan_after_s: float, check_every_s: float) -> None:
        self.root = root
        self._orphan_after_s = orphan_after_s
        self._check_every_s = check_every_s
        self._python: PythonHome | None = None

    # --- making

    def create(self, spec: ProviderSpec, key: str, attempt: Attempt) -> ProviderVM:
        """Make the machine of that key, or find it; raises CancelledStartError once `attempt` is given up."""
        where = MachineDir(self.root, layout.vm_id_of(key))
        with self._starting(where, attempt) as lock_fd:
            return self._create_locked(spec, key, where, lock_fd, attempt)

    @contextmanager
    def _starting(self, where: MachineDir, attempt: Attempt) -> Iterator[int]:
        """Hold the machine's lock, and put into our words what goes wrong."""
        try:
            self.beat()
            with locked(where.lock, lambda: attempt.cancel.is_set) as lock_fd:
                yield lock_fd
        except GaveUpError as error:
            raise CancelledStartError from error
        except freezing.StuckError as error:
            raise failures.stuck(where.id, "start", error) from error
        except OSError as error:
            raise failures.error_of_os(error, "start a machine") from error

    def _create_locked(
        self, spec: ProviderSpec, key: str, where: MachineDir, lock_fd: int, attempt: Attempt
    ) -> ProviderVM:
        record = where.read()
        if record is not None and processes.init_of(machine_of(where, record)) is not None:
            return vm_of(where, record)
        # A machine whose processes are gone (the computer was restarted) starts again with its home as it was.
        fresh = record is None
        if record is not None:
            # First all that is left of its former life: its keeper would take the new processes for those it must end.
            _end_processes(where, record)
        try:
            self._prepare(spec, where, fresh=fresh)
            self._launch_any(spec, key, where, lock_fd, attempt, fresh=fresh)
        except BaseException:
            if fresh:
                copying.remove_tree(where.path)
            raise
        attempt.made = fresh
        record = where.read()
        if record is None:
            raise ProviderError(
                "The machine vanished while it was made.", hint="Try again.", code="vm_create_failed"
            )
        return vm_of(where, record)

    def _start_again(self, where: MachineDir, attempt: Attempt) -> None:
        """Start a stopped machine as what its record says."""
        with self._starting(where, attempt) as lock_fd:
            _where, record, _status = self._existing(where.id)  # it may have been destroyed meanwhile
            spec = ProviderSpec(record.name, record.owner, record.image)
            self._create_locked(spec, record.key, where, lock_fd, attempt)

    def _prepare(self, spec: ProviderSpec, where: MachineDir, *, fresh: bool) -> None:
        if fresh:
            copying.remove_tree(where.path)  # half-made by a process that was killed
            where.path.mkdir(mode=0o700)
            if spec.snapshot is None:
                where.home.mkdir(mode=0o700)
            else:
                copying.copy_home(snapshots.home_of(self.root, spec.snapshot), where.home)
        where.run.mkdir(mode=0o700, exist_ok=True)
        where.hosts.write_text(f"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{spec.name}\n")

    def _launch_any(
        self,
        spec: ProviderSpec,
        key: str,
        where: MachineDir,
        lock_fd: int,
        attempt: Attempt,
        *,
        fresh: bool,
    ) -> None:
        methods, reasons = isolation.methods_to_try()
        for method in methods:
            details = isolation.details_of(method, reasons)
            config = self._config(spec, key, where, method, details)
            config |= {"lock_fd": lock_fd, "fresh": fresh}
            failure = launcher.launch(config, lock_fd, attempt.cancel)
            if failure is None:
                return
            if failure.kind == "cancelled":
                raise CancelledStartError
            if failure.kind != "isolation":
                raise failures.error_of(failure)
            reasons.append(f"{method}: {failure.reason}")
        raise isolation.unavailable(reasons)

    def _config(
        self,
        spec: ProviderSpec,
        key: str,
        where: MachineDir,
        method: isolation.Method,
        details: dict[str, object],
    ) -> dict[str, Any]:
        """What the keeper is told."""
        python = self._python = self._python or python_home()
        marker = marker_of(where)
        plan = isolation.plan_of(method, where, spec.name, python)
        record = {"key": key, "name": spec.name, "owner": spec.owner, "image": spec.image}
        return {
            "id": where.id,
            "root": str(self.root),
            "method": method,
            "argv": plan.argv,
            "env": isolation.environment(marker, plan, python),
            "marker": marker,
            "log": str(where.log),
            "heartbeat": str(self.heartbeat_file),
            "orphan_after_s": self._orphan_after_s,
            "check_every_s": self._check_every_s,
            "start_timeout_s": START_TIMEOUT_S,
            "record": {**record, "isolation": method, "details": details},
            "guest": {
                "method": method,
                "name": spec.name,
                "home": plan.home,
                "run": plan.run,
                "import_path": python.import_path,
            },
        }

    # --- looking

    @property
    def heartbeat_file(self) -> Path:
        """Its time says when a Jupyter of this user last lived."""
        return self.root / "heartbeat"

    def beat(self) -> None:
        """Say that a Jupyter of this user lives."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.heartbeat_file.touch(mode=0o600)
        os.utime(self.heartbeat_file)

    def status(self, vm_id: str) -> ProviderStatus:
        """Read from the processes."""
        where = self._dir_of(vm_id)
        record = where.read() if where is not None else None
        return "gone" if where is None or record is None else status_of(where, record)

    def list_owned(self, owner: str) -> list[ProviderVM]:
        """All complete machines of the owner, also those whose processes are gone."""
        if not self.root.is_dir():
            return []
        found: list[ProviderVM] = []
        for path in sorted(self.root.iterdir()):
            where = self._dir_of(path.name)
            record = where.read() if where is not None else None
            if where is not None and record is not None and record.owner == owner:
                found.append(vm_of(where, record))
        return found

    def endpoint(self, vm_id: str, short_path: str | None = None) -> SSHEndpoint:
        """Where its SSH server is; `short_path` replaces a path that is too long for a socket."""
        where, record, status = self._existing(vm_id)
        if status != "running":
            raise failures.not_running(record.name, status)
        path = str(where.socket)
        if len(os.fsencode(path)) > layout.SOCKET_PATH_MAX:
            if short_path is None:
                raise failures.path_too_long(path)
            path = short_path
        return SSHEndpoint(
            username=USERNAME,
            host_key=record.host_key,
            unix_path=path,
            client_key=where.client_key.read_text(),
        )

    def socket_folder(self, vm_id: str) -> Path | None:
        """The folder of its socket if the socket's path is too long and a short one can be had (Linux)."""
        where = self._dir_of(vm_id)
        if where is None or not processes.LINUX:
            return None
        return where.run if len(os.fsencode(str(where.socket))) > layout.SOCKET_PATH_MAX else None

    # --- changing

    def pause(self, vm_id: str) -> None:
        """Freeze all processes; done already is fine."""
        where, record, status = self._existing(vm_id)
        if status == "stopped":
            raise failures.not_running(record.name, status)
        try:
            freezing.freeze(machine_of(where, record))
        except freezing.StuckError as error:
            freezing.thaw(machine_of(where, record))
            raise failures.stuck(record.name, "pause", error) from error

    def resume(self, vm_id: str, attempt: Attempt) -> None:
        """Let all processes go on, or start it if it is stopped; running already is fine."""
        where, record, status = self._existing(vm_id)
        if status == "stopped":
            self._start_again(where, attempt)
            return
        try:
            freezing.thaw(machine_of(where, record))
        except freezing.StuckError as error:
            raise failures.stuck(record.name, "resume", error) from error

    def snapshot(self, vm_id: str, key: str) -> str:
        """Copy the home, once for each key; the machine need not run, nor be there any more if the copy is."""
        snapshot_id = layout.snapshot_id_of(key)
        if snapshots.exists(self.root, snapshot_id):
            return snapshot_id
        where, _record, _status = self._existing(vm_id)
        try:
            # A destroy waits: of a home that is removed meanwhile, half would pass for the whole.
            with locked(where.lock):
                self._existing(vm_id)
                snapshots.take(self.root, where.home, snapshot_id)
        except OSError as error:
            raise failures.error_of_os(error, "copy the home") from error
        return snapshot_id

    def destroy(self, vm_id: str) -> None:
        """End it and remove all of it; gone already is fine."""
        where = self._dir_of(vm_id)
        if where is None or not self.root.is_dir():
            return
        try:
            with locked(where.lock):
                self._destroy_locked(where)
        except freezing.StuckError as error:
            raise failures.stuck(vm_id, "end", error) from error
        except OSError as error:
            raise failures.error_of_os(error, "remove a machine") from error

    def _destroy_locked(self, where: MachineDir) -> None:
        record = where.read()
        if record is not None:
            _end_processes(where, record)
        copying.remove_tree(where.path)

    # --- finding

    def _dir_of(self, vm_id: str) -> MachineDir | None:
        return MachineDir(self.root, vm_id) if layout.is_vm_id(vm_id) else None

    def _existing(self, vm_id: str) -> tuple[MachineDir, Record, ProviderStatus]:
        where = self._dir_of(vm_id)
        record = where.read() if where is not None else None
        if where is None or record is None:
            raise failures.gone()
        return where, record, status_of(where, record)


def _end_processes(where: MachineDir, record: Record) -> None:
    """End all of the machine, and see its keeper off."""
    freezing.end(machine_of(where, record))
    freezing.await_end(record.keeper_pid, record.keeper_started)
