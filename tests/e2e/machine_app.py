"""A small app for the inside of a machine: `machine_app.py PORT`. Standard library only, as a bare machine has no more.

`/` is a page with a form and a WebSocket button, `POST /form` answers with what it got, `/ws` echoes text frames in
capitals. The page names the host, so that nobody can take another server's page for it.
"""

import base64
import hashlib
import html
import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

WS_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 § 1.3
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Machine app</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2em; }}</style>
<h1>Hello from {host}</h1>
<p id="path">{path}</p>
<form method="post" action="/form"><input name="word" value="plum"> <button id="send">Send</button></form>
<p><button id="talk">Talk</button> <output id="heard"></output></p>
<script>
document.getElementById('talk').onclick = () => {{
  const ws = new WebSocket(`ws://${{location.host}}/ws`);
  ws.onopen = () => ws.send('over the wire');
  ws.onmessage = event => {{ document.getElementById('heard').textContent = event.data; }};
  ws.onerror = () => {{ document.getElementById('heard').textContent = 'failed'; }};
}};
</script></html>"""


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/ws":
            self.echo()
        else:
            self.page(PAGE.format(host=html.escape(socket.gethostname()), path=html.escape(self.path)))

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        word = html.escape(form["word"][0])
        self.page(f"<!doctype html><title>Form</title><h1 id='got'>{self.headers['Host']} got {word}</h1>")

    def page(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def echo(self):
        key = self.headers["Sec-WebSocket-Key"] + WS_GUID
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header(
            "Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        )
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 0x0F != 1:  # anything but a text frame ends it
                return
            length = head[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(length)))
            answer = data.upper()
            self.wfile.write(bytes([0x81, len(answer)]) + answer)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
