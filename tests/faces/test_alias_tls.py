"""The alias on a Jupyter that speaks TLS itself: the connection then stays with Tornado's stream."""

import asyncio
import datetime
import ipaddress
import socket
import ssl

import httpx
import pytest
import tornado.httpserver
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tornado import web, websocket

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.loopback.gate import AliasTarget
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.server.alias import install
from jupyter_rmx.testing.streams import dial_loopback

LABEL = "demo-0a1b2c3d"


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName(f"*.{LABEL}.localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


class Echo(web.RequestHandler):
    def post(self):
        self.write(self.request.body)


class Socket(websocket.WebSocketHandler):
    def check_origin(self, origin):
        return True

    def on_message(self, message):
        self.write_message(message, binary=True)


class Directory:
    async def lookup(self, label):
        return AliasTarget("vm_demo", "demo", dial_loopback) if label == LABEL else None


@pytest.fixture
def bound():
    """A listening socket on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


async def test_post_and_websocket_over_tls(jp_web_app, bound, tmp_path):
    tls_port = bound.getsockname()[1]
    cert_file, key_file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    trusted = ssl.create_default_context(cafile=str(cert_file))
    tickets = Tickets(SystemClock())
    route = install(jp_web_app, alias_domain="localhost", directory=Directory(), tickets=tickets)
    server = tornado.httpserver.HTTPServer(jp_web_app, ssl_options=context)
    server.add_socket(bound)
    app = tornado.httpserver.HTTPServer(web.Application([("/echo", Echo), ("/ws", Socket)]))
    with socket.create_server(("127.0.0.1", 0)) as app_socket:
        app_socket.setblocking(False)
        app.add_socket(app_socket)
        port = app_socket.getsockname()[1]
        host = f"p{port}.{LABEL}.localhost:{tls_port}"
        secret = tickets.redeem(
            tickets.mint("me", "vm_demo", LABEL, port), machine_id="vm_demo", port=port
        ).cookie
        headers = {"Cookie": f"{tickets.cookie_name}={secret}"}
        body = b"x" * 3_000_000
        async with httpx.AsyncClient(verify=trusted, timeout=20) as client:
            url = f"https://127.0.0.1:{tls_port}/echo"
            for _ in range(2):  # the second one on the same connection
                answer = await client.post(url, headers={"Host": host, **headers}, content=body)
                assert answer.content == body
        async with websockets.connect(
            f"wss://{host}/ws",
            host="127.0.0.1",
            port=tls_port,
            ssl=trusted,
            origin=f"https://{host}",
            additional_headers=headers,
            proxy=None,
        ) as ws:
            await ws.send(b"\0\xff" * 100_000)
            assert await asyncio.wait_for(ws.recv(), 20) == b"\0\xff" * 100_000
        await route.aclose()
        server.stop()
        app.stop()
        await server.close_all_connections()
        await app.close_all_connections()
