"""What line magics return: objects that show themselves as text and as HTML, with JupyterLab's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from jupyter_rmx.models import FileResult, PortLink, Snapshot

OPEN_MIME = "application/vnd.jupyter-rmx.open+json"
MUTED = "color:var(--jp-ui-font-color2,inherit)"
_LINK = "color:var(--jp-content-link-color,inherit)"


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
            f'<span style="{MUTED}">on {escape(self.machine)} · {size_text(file.size)}</span></div>'
            for file in self.files
        )


class Destroyed(Shown):
    """Machines that are gone."""

    def __init__(self, machines: Sequence[str]) -> None:
        self.machines = list(machines)

    def text(self) -> str:
        """Their names."""
        return f"Destroyed: {', '.join(self.machines)}"


class Detached(Shown):
    """A machine whose connection was let go of."""

    def __init__(self, machine: str) -> None:
        self.machine = machine

    def text(self) -> str:
        """Its name."""
        return f"Detached: {self.machine}"


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
            f'<span style="{MUTED}">on {escape(self.machine)}</span>'
        )

    def _repr_mimebundle_(self, **_choice: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(), OPEN_MIME: self._payload}
