"""Request in, response out: carries one browser connection to the apps of a machine. No framework is in it.

Every head is judged by the gate, also later ones of the same connection; bodies stream both ways with back-pressure;
nothing is kept whole. A body that an app leaves unfinished is never ended cleanly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import h11

from jupyter_rmx.errors import RmxError
from jupyter_rmx.loopback import pages
from jupyter_rmx.loopback.gate import Forward, Gate, Head
from jupyter_rmx.loopback.headers import Headers, to_app, to_browser, values
from jupyter_rmx.loopback.pages import Answer
from jupyter_rmx.loopback.wire import ClientGone, Peer, cancel, splice
from jupyter_rmx.transports.base import ByteStream

Seen = Callable[[str], None]


class _AppBrokenError(Exception):
    """The app, or the way to it, ended before its answer did."""


async def serve(client: ByteStream, first_bytes: bytes, gate: Gate, seen: Seen) -> None:
    """Serve a browser's connection until it ends.

    `first_bytes` are what was already read of it. `seen(machine_id)` is called for each request that goes to an app and
    for each piece of a WebSocket. `client.read` must be safe to cancel. Closes `client`.
    """
    browser = Peer(client, h11.SERVER, first_bytes)
    host: list[str] = []
    try:
        while await _one_request(browser, gate, seen, host):
            pass
    except (ClientGone, _AppBrokenError, OSError, RmxError):
        pass  # the one at fault knows; the other sees the connection end
    finally:
        await client.aclose()


async def _one_request(browser: Peer, gate: Gate, seen: Seen, host: list[str]) -> bool:
    """Carry one request; True if the connection can carry another. `host` is what the connection began with."""
    try:
        request = await browser.next_event()
    except h11.RemoteProtocolError as error:
        return await browser.answer(_malformed(error))
    if not isinstance(request, h11.Request):
        return False
    browser.method = request.method
    head = Head(request.method, request.target, request.headers.raw_items())
    host = host or _begin(host, head)
    decision = _unfit(head, host[0]) or await _judged(gate, head)
    if isinstance(decision, Answer):
        return await browser.answer(decision)
    seen(decision.target.machine_id)
    return await _forward(browser, head, decision, seen)


async def _judged(gate: Gate, head: Head) -> Answer | Forward:
    try:
        return await gate.check(head)
    except RmxError as error:  # our own memory of the machines does not answer
        return pages.json_answer(503, error.code, error.message, hint=error.hint)


def _begin(host: list[str], head: Head) -> list[str]:
    host.append(head.host.lower())
    return host


def _unfit(head: Head, host: str) -> Answer | None:
    """What is wrong with a head before anyone asks who sent it."""
    if head.host.lower() != host:
        return pages.json_answer(
            421, "loopback_other_host", "This connection belongs to another host name.", close=True
        )
    if values(head.headers, b"transfer-encoding") and values(head.headers, b"content-length"):
        return pages.json_answer(400, "loopback_malformed", "The request has two lengths.", close=True)
    return None


def _malformed(error: h11.RemoteProtocolError) -> Answer:
    status = error.error_status_hint if error.error_status_hint in {414, 431, 501, 505} else 400
    return pages.json_answer(status, "loopback_malformed", "The request is not well-formed HTTP.", close=True)


async def _forward(browser: Peer, head: Head, forward: Forward, seen: Seen) -> bool:
    try:
        stream = await forward.target.dial(forward.port)
    except RmxError as error:
        return await browser.answer(_not_connected(error, head, forward))
    app = Peer(stream, h11.CLIENT)
    try:
        return await _exchange(browser, app, head, forward, seen)
    finally:
        await stream.aclose()


def _not_connected(error: RmxError, head: Head, forward: Forward) -> Answer:
    """No connection to the app: it is not up (yet), or the machine is out of reach."""
    name, port = forward.target.name, forward.port
    refused = error.code == "ssh_port_refused"
    if not head.is_navigation:
        if refused:
            return pages.json_answer(
                503, "loopback_not_listening", f"Nothing listens on port {port} of {name}."
            )
        return pages.json_answer(502, error.code, error.message, hint=error.hint)
    may_repeat = head.method in {b"GET", b"HEAD"}
    if not refused:
        return pages.unreachable_page(forward.front, name, error.message, error.hint, retry=may_repeat)
    if may_repeat:
        return pages.waiting_page(forward.front, port, name)
    return pages.unsent_page(forward.front, port, name)


async def _exchange(browser: Peer, app: Peer, head: Head, forward: Forward, seen: Seen) -> bool:
    """One request and its answer, with both bodies under way at the same time."""
    up = asyncio.ensure_future(_upload(browser, app, _request_to_app(head, forward)))
    down = asyncio.ensure_future(_download(browser, app))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            up.result()  # raises if the browser went away, or sent what is no HTTP
        await down
    except h11.RemoteProtocolError as error:
        await cancel(up, down)
        await app.stream.aclose()  # before the answer, which may wait for the browser
        return await _refuse(browser, _malformed(error))
    except _AppBrokenError:
        await cancel(up, down)
        await app.stream.aclose()
        return await _refuse(browser, _broken(head, forward))
    finally:
        await cancel(up, down)
    if browser.http.our_state is h11.SWITCHED_PROTOCOL:
        await _switch(browser, app, lambda: seen(forward.target.machine_id))
        return False
    if browser.next_cycle():
        return True
    await browser.drain()
    return False


async def _refuse(browser: Peer, answer: Answer) -> bool:
    """Answer for an app that cannot; once an answer has begun nothing can be said, and the connection just ends."""
    if browser.http.our_state is not h11.SEND_RESPONSE:
        raise _AppBrokenError
    return await browser.answer(answer)


def _broken(head: Head, forward: Forward) -> Answer:
    name, port = forward.target.name, forward.port
    if head.is_navigation:
        return pages.broken_page(forward.front, port, name)
    return pages.json_answer(502, "loopback_bad_answer", f"Port {port} of {name} did not answer in HTTP.")


def _request_to_app(head: Head, forward: Forward) -> h11.Request:
    headers = to_app(head.headers, forward.front)
    if values(head.headers, b"transfer-encoding"):
        headers.append((b"Transfer-Encoding", b"chunked"))
    if forward.upgrade:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    else:
        headers.append((b"Connection", b"close"))
    return h11.Request(method=head.method, target=head.target, headers=headers)


async def _upload(browser: Peer, app: Peer, request: h11.Request) -> None:
    """Send the request and its body, then watch that the browser stays.

    An app may stop reading and answer all the same; what it says then counts.
    """
    try:
        await app.send(request)
        while True:
            event = await _body_event(browser)
            await app.send(event)
            if isinstance(event, h11.EndOfMessage):
                break
    except (OSError, RmxError):
        return
    await browser.watch()


async def _body_event(browser: Peer) -> h11.Data | h11.EndOfMessage:
    try:
        return cast("h11.Data | h11.EndOfMessage", await browser.next_event())
    except (OSError, RmxError) as error:
        raise ClientGone from error


async def _download(browser: Peer, app: Peer) -> None:
    """Pass the answer on, piece by piece."""
    modern = (browser.http.their_http_version or b"1.0") >= b"1.1"
    while isinstance(event := await _from_app(app), h11.InformationalResponse):
        if event.status_code == 101:
            await browser.send(_switching(event))
            return
        if modern:
            headers = to_browser(event.headers.raw_items())
            await browser.send(
                h11.InformationalResponse(status_code=event.status_code, reason=event.reason, headers=headers)
            )
    if not isinstance(event, h11.Response):
        raise _AppBrokenError
    headers = to_browser(event.headers.raw_items())
    await browser.send(h11.Response(status_code=event.status_code, reason=event.reason, headers=headers))
    while isinstance(event := await _from_app(app), h11.Data):
        await browser.send(event)
    trailers: Headers = event.headers.raw_items() if modern and isinstance(event, h11.EndOfMessage) else []
    await browser.send(h11.EndOfMessage(headers=trailers))


async def _from_app(app: Peer) -> object:
    try:
        return await app.next_event()
    except (h11.RemoteProtocolError, OSError, RmxError) as error:
        raise _AppBrokenError from error


def _switching(event: h11.InformationalResponse) -> h11.InformationalResponse:
    headers = [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        *to_browser(event.headers.raw_items()),
    ]
    return h11.InformationalResponse(status_code=101, reason=event.reason, headers=headers)


async def _switch(browser: Peer, app: Peer, seen: Callable[[], None]) -> None:
    """From here on only bytes count."""
    early, late = app.unread, browser.unread
    if early:
        await browser.stream.write(early)
    if late:
        await app.stream.write(late)
    await splice(browser.stream, app.stream, seen)
