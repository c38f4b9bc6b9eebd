"""A web app as people run them, for the tests of the alias: a process of its own on 127.0.0.1:<port given>."""

import asyncio
import hashlib
import json
import sys

from tornado import web, websocket

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY")


class Echo(web.RequestHandler):
    """Says what it was asked."""

    SUPPORTED_METHODS = METHODS

    def answer(self):
        self.set_header("Content-Type", "application/json")
        self.add_header("Set-Cookie", "one=1")
        self.add_header("Set-Cookie", "two=2; Path=/x")
        seen = {
            "method": self.request.method,
            "uri": self.request.uri,
            "headers": list(self.request.headers.get_all()),
            "length": len(self.request.body),
            "sha256": hashlib.sha256(self.request.body).hexdigest(),
        }
        self.write(json.dumps(seen))


for _method in METHODS:
    setattr(Echo, _method.lower(), Echo.answer)


class Big(web.RequestHandler):
    """`n` bytes, in pieces."""

    async def get(self):
        left = int(self.get_argument("n"))
        self.set_header("Content-Length", str(left))
        piece = bytes(range(256)) * 256
        while left:
            self.write(piece[:left])
            left -= len(piece[:left])
            await self.flush()


class Steps(web.RequestHandler):
    """The second line comes only after someone asked for /go."""

    async def get(self):
        self.write("one\n")
        await self.flush()
        await GO.wait()
        GO.clear()
        self.write("two\n")


class Go(web.RequestHandler):
    def get(self):
        GO.set()
        self.write("gone\n")


class Gone(web.RequestHandler):
    """Whether the request `/held` has been given up by its client."""

    async def get(self):
        await LEFT.wait()
        self.write("left\n")


class Held(web.RequestHandler):
    """Never answers."""

    async def get(self):
        HOLDS.set()
        await asyncio.Event().wait()

    def on_connection_close(self):
        LEFT.set()


class Holding(web.RequestHandler):
    async def get(self):
        await HOLDS.wait()
        self.write("holds\n")


class Socket(websocket.WebSocketHandler):
    def check_origin(self, origin):
        return origin == f"http://localhost:{sys.argv[1]}"

    def select_subprotocol(self, subprotocols):
        return subprotocols[-1] if subprotocols else None

    def on_message(self, message):
        if message == "close":
            self.close(4321, "as you wish")
        else:
            self.write_message(message, binary=isinstance(message, bytes))


class Refusing(web.RequestHandler):
    def get(self):
        self.set_status(418)
        self.set_header("X-Why", "no sockets here")
        self.write("teapot")


async def main():
    app = web.Application(
        [
            ("/echo.*", Echo),
            ("/big", Big),
            ("/steps", Steps),
            ("/go", Go),
            ("/held", Held),
            ("/holding", Holding),
            ("/gone", Gone),
            ("/ws", Socket),
            ("/refusing", Refusing),
        ]
    )
    app.listen(int(sys.argv[1]), "127.0.0.1")
    print("up", flush=True)
    await asyncio.Event().wait()


GO, HOLDS, LEFT = asyncio.Event(), asyncio.Event(), asyncio.Event()
asyncio.run(main())
