"""What line magics return: objects that show themselves as text and as HTML, with JupyterLab's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any
from urllib.parse import quote

from jupyter_rmx.models import VM, FileResult, PortLink, Snapshot

OPEN_MIME = "application/vnd.jupyter-rmx.open+json"
_MUTED = "color:var(--jp-ui-font-color2,inherit)"
_LINK = "color:var(--jp-content-link-color,inherit)"
_CELL = "text-align:left;padding:2px 16px 2px 0"
_DOT = {
    "running": "var(--jp-success-color1,#388e3c)",
    "creating": "var(--jp-warn-color1,#f57c00)",
    "destroying": "var(--jp-warn-color1,#f57c00)",
    "failed": "var(--jp-error-color1,#d32f2f)",
}
_OTHER_DOT = "var(--jp-ui-font-color3,#9e9e9e)"


class Shown:
    """Base: a result that is shown, never printed."""

    def text(self) -> str:
        """For terminals and plain front ends."""
        raise NotImplementedError

    def html(self) -> str | None:
        """For notebooks; None: the text is enough."""
        return None

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_choice: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text()}
        html = self.html()
        if html is not None:
            bundle["text/html"] = html
        return bundle


class Help(Shown):
    """Help text, or the list of verbs."""

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self) -> str:
        """As it is."""
        return self._text


def _state(vm: VM) -> str:
    colour = _DOT.get(vm.status, _OTHER_DOT)
    return f'<span style="color:{colour}">●</span> {escape(vm.status)}'


def _age(moment: datetime, now: datetime) -> str:
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def next_step(vm: VM) -> tuple[str, str]:
    """What a user may do with a machine in this state: in words, and the line to type."""
    steps = {
        "running": ("run a cell there with", f"%%vm {vm.name}"),
        "paused": ("it goes on when it is used, or with", f"%vm resume {vm.name}"),
        "destroyed": ("make a new one with", f"%vm create {vm.name}"),
        "failed": ("try again with", f"%vm create {vm.name}"),
    }
    return steps.get(vm.status, ("see its state with", f"%vm info {vm.name}"))


class Machine(Shown):
    """One machine; `notice` is what its provider wants said of it, if anything. `full`: all that is known of it."""

    def __init__(self, vm: VM, notice: str = "", *, full: bool = False) -> None:
        self.vm = vm
        self.notice = notice
        self.name = vm.name
        self.id = vm.id
        self.status = vm.status
        self._full = full

    def text(self) -> str:
        """Its name, state and provider, and why it is so if that is not plain."""
        vm = self.vm
        lines = [f"{vm.name}: {vm.status} ({vm.provider})"]
        if vm.reason:
            lines.append(vm.reason)
        if vm.status != "running":
            words, line = next_step(vm)
            lines.append(f"{words[:1].upper()}{words[1:]}: {line}")
        if self.notice:
            lines.append(self.notice)
        if self._full:
            lines += [f"{name}: {value}" for name, value in facts(vm)]
        return "\n".join(lines)

    def html(self) -> str:
        """The same, with a first step."""
        vm = self.vm
        words, line = next_step(vm)
        said = "".join(
            f'<div style="{_MUTED}">{escape(text)}</div>'
            for text in (vm.reason or "", self.notice, *(_fact_lines(vm) if self._full else ()))
            if text
        )
        return (
            f"<div><b>{escape(vm.name)}</b> &nbsp; {_state(vm)} &nbsp; "
            f'<span style="{_MUTED}">{escape(vm.provider)} · {escape(words)}</span> '
            f"<code>{escape(line)}</code></div>{said}"
        )


def facts(vm: VM) -> list[tuple[str, str]]:
    """What is known of a machine, beside its name and state."""
    known = [
        ("id", vm.id),
        ("created", f"{vm.created_at.astimezone():%Y-%m-%d %H:%M}"),
        ("image", " ".join(filter(None, (vm.image, vm.image_version)))),
        ("at its provider", vm.provider_vm_id or ""),
    ]
    return [(name, value) for name, value in known if value]


def _fact_lines(vm: VM) -> list[str]:
    return [f"{name}: {value}" for name, value in facts(vm)]


class SnapshotKept(Shown):
    """A copy of a machine."""

    def __init__(self, snapshot: Snapshot, machine: str) -> None:
        self.snapshot = snapshot
        self.id = snapshot.id
        self.machine = machine

    def text(self) -> str:
        """Its id, and how to start from it."""
        called = f" ({self.snapshot.name})" if self.snapshot.name else ""
        return f"Snapshot of {self.machine}{called}: {self.id}\nStart from it: %vm restore {self.id}"


class Machines(Shown, Sequence[VM]):
    """All machines, newest first; also a sequence of them."""

    def __init__(self, vms: Sequence[VM], now: datetime | None = None) -> None:
        self._vms = list(vms)
        self._now = now or datetime.now(timezone.utc)

    def __getitem__(self, index: Any) -> Any:
        return self._vms[index]

    def __len__(self) -> int:
        return len(self._vms)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [(vm.name, vm.status, vm.provider, _age(vm.created_at, self._now)) for vm in self._vms]

    def _reasons(self) -> list[str]:
        """Why a machine is as it is, for those of which it is not plain."""
        return [f"{vm.name}: {vm.reason}" for vm in self._vms if vm.reason]

    def text(self) -> str:
        """A table, or what to do next."""
        if not self._vms:
            return "No machines yet. Make one: %vm create demo"
        rows = [("NAME", "STATUS", "PROVIDER", "CREATED"), *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*table, *self._reasons()])

    def html(self) -> str:
        """The same as a table."""
        if not self._vms:
            return "<div>No machines yet. Make one: <code>%vm create demo</code></div>"
        head = "".join(
            f'<th style="{_CELL};{_MUTED};font-weight:normal">{name}</th>'
            for name in ("Name", "Status", "Provider", "Created")
        )
        body = "".join(
            f'<tr><td style="{_CELL}"><b>{escape(name)}</b></td><td style="{_CELL}">{_state(vm)}</td>'
            f'<td style="{_CELL}">{escape(provider)}</td><td style="{_CELL};{_MUTED}">{age}</td></tr>'
            for vm, (name, _, provider, age) in zip(self._vms, self._rows(), strict=True)
        )
        why = "".join(f'<div style="{_MUTED}">{escape(reason)}</div>' for reason in self._reasons())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{why}"


def size_text(count: int) -> str:
    """Bytes for people: `12 B`, `3.4 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Uploaded(Shown):
    """Files that arrived."""

    def __init__(self, machine: str, files: Sequence[FileResult]) -> None:
        self.machine = machine
        self.files = list(files)

    def text(self) -> str:
        """One line for each."""
        return "\n".join(
            f"{file.remote_path} on {self.machine} ({size_text(file.size)})" for file in self.files
        )

    def html(self) -> str:
        """The same."""
        return "".join(
            f"<div><code>{escape(file.remote_path)}</code> "
            f'<span style="{_MUTED}">on {escape(self.machine)} · {size_text(file.size)}</span></div>'
            for file in self.files
        )


class Destroyed(Shown):
    """Machines that are gone."""

    def __init__(self, machines: Sequence[str]) -> None:
        self.machines = list(machines)

    def text(self) -> str:
        """Their names."""
        return f"Destroyed: {', '.join(self.machines)}"


def open_page(server_url: str, link: PortLink, path: str) -> str:
    """The address that leads to the port behind Jupyter's login; no secret, so it may be saved in a notebook.

    Jupyter shows itself as `localhost`, so that is where a browser has its login cookie.
    """
    front = server_url.replace("//127.0.0.1:", "//localhost:", 1)
    return f"{front}rmx/open/{quote(link.machine)}/{link.port}/{quote(path.lstrip('/'), safe='/?&=#%+:,;~@!$*()')}"


class OpenPort(Shown):
    """A port as a link; in JupyterLab the output opens its tab once (see labextension/src/model/openOutput.ts)."""

    def __init__(self, link: PortLink, path: str, server_url: str) -> None:
        self.machine = link.machine
        self.port = link.port
        self.url = open_page(server_url, link, path)
        self.shown = link.shown
        self._payload = {
            "version": 1,
            "machine": link.machine,
            "machine_id": link.machine_id,
            "port": link.port,
            "path": path,
            "shown": link.shown,
            "open_id": link.open_id,
        }

    def text(self) -> str:
        """What it shows and where."""
        return f"{self.shown} of {self.machine}: {self.url}"

    def html(self) -> str:
        """A link."""
        return (
            f'<a href="{escape(self.url)}" target="_blank" rel="noopener" style="{_LINK}">{escape(self.shown)}</a> '
            f'<span style="{_MUTED}">on {escape(self.machine)}</span>'
        )

    def _repr_mimebundle_(self, **_choice: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(), OPEN_MIME: self._payload}
