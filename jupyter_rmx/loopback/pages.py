"""What we answer ourselves on an alias host: small pages for people, JSON for programs.

A page is one self-contained document: no other file, light and dark by the browser's choice, usable by keyboard and
screen reader. Every text that comes from outside is escaped.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus

from jupyter_rmx.loopback.headers import Front, Headers

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --paper: #fff; --line: #d1d9e0; --mark: #b8541a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa4af; --paper: #16191d; --line: #343a42; --mark: #f0985c; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 24px; background: var(--paper);
  color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
main { max-width: 34rem; width: 100%; }
h1 { margin: 0 0 10px; font-size: 21px; line-height: 1.3; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 0 0 10px; color: var(--soft); overflow-wrap: anywhere; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--ink);
  border: 1px solid var(--line); border-radius: 5px; padding: 2px 7px; white-space: pre-wrap; }
.wait { display: flex; align-items: center; gap: 10px; margin-top: 18px; padding-top: 14px;
  border-top: 1px solid var(--line); font-size: 13.5px; }
.wait p { margin: 0; }
.dot { flex: none; width: 9px; height: 9px; border-radius: 50%; background: var(--mark); animation: beat 1.6s infinite; }
@keyframes beat { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .dot { animation: none; } }
"""

# Asks twice a second and shows the app at the first yes. A server that does not answer is said, and asked on.
_POLL = """
const said = document.getElementById("said");
const first = said.textContent;
async function ask() {
  try {
    const answer = await fetch("/__rmx__/status", { cache: "no-store" });
    if (!answer.ok || (await answer.json()).listening) { location.reload(); return; }
    if (said.textContent !== first) said.textContent = first;
  } catch {
    const lost = "Jupyter does not answer. Still trying.";
    if (said.textContent !== lost) said.textContent = lost;
  }
  setTimeout(ask, 500);
}
setTimeout(ask, 500);
"""


@dataclass(frozen=True)
class Answer:
    """A whole answer of ours. `close` ends the connection after it."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    close: bool = False

    @property
    def reason(self) -> bytes:
        """The reason phrase of the status line."""
        return HTTPStatus(self.status).phrase.encode()


def json_answer(status: int, code: str, message: str, *, hint: str = "", close: bool = False) -> Answer:
    """An error for a program: the envelope of the REST interface, shortened."""
    headers: Headers = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"Retry-After", b"1"))
    body = json.dumps({"error": code, "message": message, "action": hint}).encode() + b"\n"
    return Answer(status, headers, body, close)


def status_answer(listening: bool) -> Answer:
    """Whether the port listens, for the waiting page."""
    headers: Headers = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    return Answer(200, headers, json.dumps({"listening": listening}).encode() + b"\n")


def redirect_answer(path: str, set_cookie: str | None) -> Answer:
    """Off to `path`, with nothing of this URL left in a cache, a `Referer` or the history."""
    headers: Headers = [
        (b"Location", path.encode()),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
    ]
    if set_cookie is not None:
        headers.append((b"Set-Cookie", set_cookie.encode()))
    return Answer(HTTPStatus.SEE_OTHER, headers)


def waiting_page(front: Front, port: int, machine: str) -> Answer:
    """Nothing listens yet: says so, and opens the app as soon as something does."""
    return _page(
        503,
        f"Nothing listens on port {port} of {machine} yet",
        ["This page opens the app as soon as it does."],
        front,
        waits=f"Waiting for port {port}",
    )


def unsent_page(front: Front, port: int, machine: str) -> Answer:
    """Nothing listens, and what was to be sent must not be sent twice by itself."""
    return _page(
        503,
        f"Nothing listens on port {port} of {machine}",
        ["What you sent did not reach the app. Start it, go back, and send again."],
        front,
    )


def gone_page(front: Front | None) -> Answer:
    """No machine has this label (any more)."""
    return _page(
        404,
        "No machine answers at this address",
        ["It may have been destroyed. Machines that exist:", "<code>%vm ls</code>"],
        front,
    )


def run_out_page(front: Front, port: int, machine: str) -> Answer:
    """No valid cookie: the link was used, or is too old, or was revoked."""
    command = f"%vm open {machine} {port}"
    return _page(
        403,
        "This link has run out",
        [
            "A link opens once, within a minute. Open it again from JupyterLab:",
            f"<code>{escape(command)}</code>",
        ],
        front,
    )


def unreachable_page(front: Front, machine: str, message: str, hint: str, *, retry: bool) -> Answer:
    """The way to the machine is broken. With `retry` the page goes on trying, and opens the app once it can."""
    waits = f"Trying to reach {machine} again" if retry else ""
    return _page(502, f"{machine} cannot be reached", [escape(message), escape(hint)], front, waits=waits)


def error_page(status: int, message: str, hint: str) -> Answer:
    """A link of JupyterLab's own side cannot be followed."""
    return _page(status, "This port cannot be opened", [escape(message), escape(hint)], None)


def broken_page(front: Front, port: int, machine: str) -> Answer:
    """Something listens, but what it says is not HTTP."""
    return _page(
        502,
        f"Port {port} of {machine} does not speak HTTP",
        ["Something listens there, but its answer was broken or not HTTP. Look at the app's own log."],
        front,
    )


def _page(status: int, title: str, lines: list[str], front: Front | None, *, waits: str = "") -> Answer:
    """One page; `lines` are HTML, `title` and `waits` are text."""
    nonce = secrets.token_urlsafe(12)
    body = "".join(f"<p>{line}</p>\n" for line in lines if line)
    script = ""
    if waits:
        body += f'<div class="wait"><span class="dot"></span><p id="said" role="status">{escape(waits)}</p></div>\n'
        script = f'<script nonce="{nonce}">{_POLL}</script>\n'
    document = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style nonce="{nonce}">{_STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}</main>\n{script}</body>\n</html>\n"
    )
    headers: Headers = [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", _policy(nonce, front).encode()),
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"Retry-After", b"1"))
    return Answer(status, headers, document.encode())


def _policy(nonce: str, front: Front | None) -> str:
    """Nothing but the page's own style and script; frames in JupyterLab and in pages of the same machine."""
    ancestors = "'self'"
    if front is not None:
        port = f":{front.front_port}" if front.front_port else ""
        hosts = ["localhost", "127.0.0.1", front.alias_domain]
        if front.layout == "nested":
            hosts.append(f"*.{front.alias.machine}.{front.alias_domain}")
        names = dict.fromkeys(f"{scheme}://{host}{port}" for scheme in ("http", "https") for host in hosts)
        ancestors = " ".join([ancestors, *names])
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    )
