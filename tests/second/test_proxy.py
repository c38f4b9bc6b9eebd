"""The proxy core between two TCP ends, where every byte of both sides is ours to choose."""

import asyncio

import pytest

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.errors import StoreError, TransportError
from jupyter_rmx.loopback import proxy, wire
from jupyter_rmx.loopback.gate import AliasTarget, Gate
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.testing.streams import TcpStream, dial_loopback

LABEL = "demo-0a1b2c3d"
HOST = f"p8000.{LABEL}.localhost:8888"
FAIL_SAFE_S = 20


def within(awaitable):
    return asyncio.wait_for(awaitable, FAIL_SAFE_S)


class End:
    """One end of a connection, read and written by hand."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def until(self, mark):
        return await within(self.reader.readuntil(mark))

    async def rest(self):
        return await within(self.reader.read())

    def send(self, data):
        self.writer.write(data)

    def end(self):
        self.writer.write_eof()

    def abort(self):
        self.writer.transport.abort()


class Bench:
    """A proxy on a port, and an app whose connections the test plays itself."""

    def __init__(self):
        self.tickets = Tickets(SystemClock())
        self.gate = Gate(alias_domain="localhost", directory=self, tickets=self.tickets)
        self.apps = asyncio.Queue()
        self.failure = None
        self.unknown = None
        self.dials = 0
        self.seen = []
        self.served = []
        self._ends = []

    async def open(self):
        async def app(reader, writer):
            self._ends.append(writer)
            self.apps.put_nowait(End(reader, writer))

        async def browser(reader, writer):
            self.served.append(asyncio.current_task())
            await proxy.serve(TcpStream(reader, writer), b"", self.gate, self.seen.append)

        self._app = await asyncio.start_server(app, "127.0.0.1", 0)
        self._proxy = await asyncio.start_server(browser, "127.0.0.1", 0)
        return self

    async def close(self):
        self._app.close()
        self._proxy.close()
        for writer in self._ends:
            writer.close()
        for task in self.served:
            task.cancel()
        await asyncio.gather(*self.served, return_exceptions=True)

    async def lookup(self, label):
        if self.unknown:
            raise self.unknown
        return AliasTarget("vm_demo", "demo", self.dial) if label == LABEL else None

    async def dial(self, port):
        self.dials += 1
        if self.failure:
            raise self.failure
        return await dial_loopback(self._app.sockets[0].getsockname()[1])

    async def browser(self):
        end = End(*await asyncio.open_connection("127.0.0.1", self._proxy.sockets[0].getsockname()[1]))
        self._ends.append(end.writer)
        return end

    def head(self, line, *headers):
        ticket = self.tickets.mint("me", "vm_demo", LABEL, 8000, "/")
        cookie = self.tickets.redeem(ticket, machine_id="vm_demo", port=8000).cookie
        lines = [line, f"Host: {HOST}", f"Cookie: {self.tickets.cookie_name}={cookie}", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    async def ask(self, line="GET / HTTP/1.1", *headers, body=b""):
        """Send a request; both ends, and the head that the app got."""
        browser = await self.browser()
        browser.send(self.head(line, *headers) + body)
        app = await within(self.apps.get())
        return browser, app, await app.until(b"\r\n\r\n")


@pytest.fixture
def bench(jp_asyncio_loop):
    made = jp_asyncio_loop.run_until_complete(Bench().open())
    yield made
    jp_asyncio_loop.run_until_complete(made.close())


async def test_the_app_gets_exactly_this(bench):
    _, _, head = await bench.ask("GET /a%2Fb?c=%20;d HTTP/1.1", "X-One: 1", "x-oNe:  2 ", "Accept: */*")
    assert head == (
        b"GET /a%2Fb?c=%20;d HTTP/1.1\r\nHost: localhost:8000\r\nX-One: 1\r\nx-oNe: 2\r\nAccept: */*\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert bench.seen == ["vm_demo"]


async def test_the_browser_gets_exactly_this(bench):
    browser, app, _ = await bench.ask()
    app.send(
        b'HTTP/1.1 299 Odd Reason\r\nsEt-cookie: a=1\r\nX: \xff\r\nSet-Cookie: b\r\nETag: W/"x"\r\n'
        b"Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert await browser.until(b"abc") == (
        b'HTTP/1.1 299 Odd Reason\r\nsEt-cookie: a=1\r\nX: \xff\r\nSet-Cookie: b\r\nETag: W/"x"\r\n'
        b"Content-Length: 3\r\n\r\nabc"
    )


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
    ],
)
async def test_framings_of_an_answer_and_the_connection_goes_on(bench, answer, sent):
    browser, app, _ = await bench.ask()
    app.send(answer)
    assert await within(browser.reader.readexactly(len(sent))) == sent
    browser.send(bench.head("GET /again HTTP/1.1"))
    again = await within(bench.apps.get())
    assert (await again.until(b"\r\n\r\n")).startswith(b"GET /again ")


async def test_an_answer_without_length_ends_with_the_app(bench):
    browser, app, _ = await bench.ask()
    app.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
    assert (
        await browser.until(b"3\r\nabc\r\n")
        == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    app.end()
    assert await browser.until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_an_old_client_gets_no_chunks(bench):
    browser, app, _ = await bench.ask("GET / HTTP/1.0")
    app.send(
        b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
    )
    assert await browser.rest() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"


async def test_head_keeps_the_length(bench):
    browser, app, _ = await bench.ask("HEAD / HTTP/1.1", "Connection: close")
    app.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    assert await browser.rest() == b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nConnection: close\r\n\r\n"


async def test_the_body_waits_for_the_apps_100(bench):
    browser, app, head = await bench.ask("POST / HTTP/1.1", "Content-Length: 3", "Expect: 100-continue")
    assert b"Expect: 100-continue\r\n" in head
    app.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await browser.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    browser.send(b"abc")
    assert await within(app.reader.readexactly(3)) == b"abc"


async def test_each_piece_of_a_body_passes_at_once_both_ways(bench):
    browser, app, _ = await bench.ask("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    app.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await browser.until(b"\r\n\r\n")
    for number in range(3):  # each step waits for the one before it to have crossed
        browser.send(b"1\r\n%d\r\n" % number)
        assert await app.until(b"1\r\n%d\r\n" % number)
        app.send(b"1\r\n%d\r\n" % number)
        assert await browser.until(b"1\r\n%d\r\n" % number)
    browser.send(b"0\r\nSum: 3\r\n\r\n")
    assert await app.until(b"\r\n\r\n") == b"0\r\nSum: 3\r\n\r\n"
    app.send(b"0\r\n\r\n")
    assert await browser.until(b"\r\n\r\n") == b"0\r\n\r\n"


async def test_an_app_may_answer_before_it_has_read_all(bench):
    browser, app, _ = await bench.ask("POST / HTTP/1.1", "Content-Length: 1000000", body=b"x" * 1000)
    app.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    assert (await browser.rest()).endswith(b"\r\n\r\nbig")


async def test_what_the_app_does_not_read_the_browser_cannot_send(bench):
    """Back-pressure: far less than the body gets in while nobody takes it out."""
    total = 256 * 1024 * 1024
    browser, app, _ = await bench.ask("POST / HTTP/1.1", f"Content-Length: {total}")
    app.reader._transport.pause_reading()
    sent, piece = 0, b"x" * 1048576
    while sent < total:
        browser.send(piece)
        sent += len(piece)
        try:
            await asyncio.wait_for(browser.writer.drain(), 1)
        except asyncio.TimeoutError:
            break
    assert sent < total / 4
    app.reader._transport.resume_reading()
    got = len(await within(app.reader.read(65536)))
    while got < sent:
        got += len(await within(app.reader.read(1048576)))
    assert got == sent


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_truncated_body_is_never_ended_cleanly(bench, framing, way):
    browser, app, _ = await bench.ask()
    body = b"5\r\nabcde\r\n" if b"chunked" in framing else b"abcde"
    app.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body)
    got = await browser.until(b"abcde")
    app.end() if way == "close" else app.abort()
    rest = await browser.rest()
    assert framing in got
    assert b"0\r\n\r\n" not in rest


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Half",
    ],
)
async def test_an_app_that_does_not_speak_http_gets_a_502(bench, garbage):
    browser, app, _ = await bench.ask("GET / HTTP/1.1", "Sec-Fetch-Mode: navigate", "Connection: close")
    app.send(garbage)
    app.end()
    answer = await browser.rest()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"Port 8000 of demo does not speak HTTP" in answer


async def test_the_way_to_the_machine_is_broken(bench):
    bench.failure = TransportError(
        "The link to <demo> is down.", hint="Try again.", code="ssh_connection_lost"
    )
    browser = await bench.browser()
    browser.send(bench.head("GET / HTTP/1.1"))
    assert b'"error": "ssh_connection_lost"' in await browser.until(b"}\n")
    browser.send(bench.head("GET / HTTP/1.1", "Sec-Fetch-Mode: navigate", "Connection: close"))
    page = await browser.rest()
    assert page.startswith(b"HTTP/1.1 502 ")
    assert b"The link to &lt;demo&gt; is down." in page


async def test_our_own_memory_does_not_answer(bench):
    bench.unknown = StoreError("The store is locked.")
    browser = await bench.browser()
    browser.send(bench.head("GET / HTTP/1.1", "Connection: close"))
    answer = await browser.rest()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"store_unavailable" in answer


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: %b\r\nBad Name: x\r\n\r\n" % HOST.encode(), b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, b"431"),
    ],
)
async def test_what_is_no_request(bench, bad, status):
    browser = await bench.browser()
    browser.send(bad)
    assert (await browser.rest()).startswith(b"HTTP/1.1 " + status)
    assert bench.dials == 0


async def test_a_bad_chunk_gets_a_400_and_the_app_no_end(bench):
    browser, app, _ = await bench.ask("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n")
    assert await app.until(b"abc\r\n")
    browser.send(b"zz\r\n")
    assert (await browser.rest()).startswith(b"HTTP/1.1 400 ")
    assert await app.rest() == b""


async def test_a_browser_that_leaves_mid_upload_leaves_the_app_without_an_end(bench):
    browser, app, _ = await bench.ask("POST / HTTP/1.1", "Content-Length: 10", body=b"abc")
    assert await app.until(b"abc")
    browser.abort()
    assert await app.rest() == b""
    await within(asyncio.gather(*bench.served))


async def test_a_browser_that_leaves_while_it_waits(bench):
    browser, app, _ = await bench.ask()
    browser.abort()
    assert await app.rest() == b""


async def test_a_refused_request_with_a_body_still_gets_its_answer(bench):
    browser = await bench.browser()
    browser.send(
        f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5000000\r\n\r\n".encode() + b"x" * 3_000_000
    )
    answer = await browser.rest()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"}\n")
    assert bench.dials == 0


# After 101 only bytes count

UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")


async def switched(bench, early=b"", late=b""):
    browser, app, head = await bench.ask("GET /ws HTTP/1.1", *UPGRADE, body=late)
    assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in head
    app.send(b"HTTP/1.1 101 Fine\r\nUPGRADE: websocket\r\nconnection: upgrade\r\nX-A: 1\r\n\r\n" + early)
    answer = await browser.until(b"\r\n\r\n")
    assert answer == b"HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\n"
    return browser, app


async def test_bytes_on_both_sides_of_the_switch_are_kept(bench):
    browser, app = await switched(bench, early=b"early", late=b"late")
    assert await browser.until(b"early") == b"early"
    assert await app.until(b"late") == b"late"
    browser.send(b"up\0\xff")
    assert await app.until(b"\xff") == b"up\0\xff"
    app.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await browser.until(b"\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
    assert len(bench.seen) > 1  # a socket in use counts as activity


@pytest.mark.parametrize("first", ["browser", "app"])
async def test_each_side_may_end_first_and_still_hear_the_other(bench, first):
    browser, app = await switched(bench)
    one, other = (browser, app) if first == "browser" else (app, browser)
    one.send(b"last words")
    one.end()
    assert await other.rest() == b"last words"
    other.send(b"farewell")
    other.end()
    assert await one.rest() == b"farewell"
    await within(asyncio.gather(*bench.served))


async def test_a_side_that_never_ends_is_ended(bench, monkeypatch):
    monkeypatch.setattr(wire, "LINGER_S", 0.05)
    browser, app = await switched(bench)
    browser.end()
    assert await app.rest() == b""
    assert await browser.rest() == b""  # the app has not said that it is done


async def test_a_refused_upgrade_is_an_ordinary_answer(bench):
    browser, app, _ = await bench.ask("GET /ws HTTP/1.1", *UPGRADE)
    app.send(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!")
    assert await browser.until(b"no!") == b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!"
    browser.send(bench.head("GET /again HTTP/1.1"))
    assert await (await within(bench.apps.get())).until(b"\r\n\r\n")


async def test_other_upgrades_are_not_offered(bench):
    _, _, head = await bench.ask(
        "GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"
    )
    assert b"h2c" not in head
    assert b"HTTP2-Settings" not in head
    assert b"Connection: close\r\n" in head
