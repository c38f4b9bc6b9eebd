"""What an app and a browser see."""

import pytest

from jupyter_rmx.loopback.headers import (
    Front,
    is_websocket,
    local_path,
    origin_allowed,
    to_app,
    to_browser,
)

FRONT = Front.of_host("p8000.demo-0a1b2c3d.localhost:8888", "localhost")


def test_what_is_not_named_passes_byte_for_byte_in_order():
    given = [(b"X-a", b"1"), (b"x-A", b"\xff \t2"), (b"ACCEPT", b""), (b"X-a", b"1"), (b"TRAILER", b"x")]
    assert to_app(given, FRONT) == given
    assert to_browser(given) == given


def test_the_app_is_asked_as_localhost():
    given = [
        (b"Host", b"p8000.demo-0a1b2c3d.localhost:8888"),
        (b"ORIGIN", b"http://p5173.demo-0a1b2c3d.localhost:8888"),
        (b"Referer", b"http://p5173.demo-0a1b2c3d.localhost:8888/a?b=c"),
    ]
    assert to_app(given, FRONT) == [
        (b"Host", b"localhost:8000"),
        (b"ORIGIN", b"http://localhost:5173"),
        (b"Referer", b"http://localhost:5173/a?b=c"),
    ]


@pytest.mark.parametrize(
    ("referer", "seen"),
    [
        (b"https://example.org/a?b", b"https://example.org/a?b"),
        (b"http://p1.other-0a1b2c3d.localhost:8888/a", b"http://p1.other-0a1b2c3d.localhost:8888/"),
        (b"http://localhost:8888/lab?token=x", b"http://localhost:8888/"),
        (b"http://127.0.0.1:8888/lab?token=x", b"http://127.0.0.1:8888/"),
        (b"http://localhost:9999/lab", b"http://localhost:9999/lab"),
        (b"http://p8000.demo-0a1b2c3d.localhost:8888/__rmx__/open?ticket=x", b"http://localhost:8000/"),
        (b"http://p80.demo-0a1b2c3d.localhost:8888/x", b"http://localhost/x"),
        (b"http://api.p80.demo-0a1b2c3d.localhost:8888/x", b"http://api.localhost/x"),
        (b"not a url", b"not a url"),
        (b"http://[bad:8888/", b"http://[bad:8888/"),
    ],
)
def test_referers(referer, seen):
    assert to_app([(b"Referer", referer)], FRONT) == [(b"Referer", seen)]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"a=1;b = 2 ;  c", b"a=1;b = 2 ;  c"),
        (b"_xsrf=x; a=1;b=2", b"a=1;b=2"),
        (b"a=1; _xsrf=2; xsrf=3", b"a=1; xsrf=3"),
        (b"a=_xsrf; username-localhost-8888=y", b"a=_xsrf"),
        (b"usernames=1; jupyterhub-user-me=z; my_xsrf=2", b"usernames=1; my_xsrf=2"),
        (b"__Host-rmx-0a1b2c3d=s; __Host-mine=1", b"__Host-mine=1"),
        (b"_xsrf=x", None),
    ],
)
def test_cookies(line, kept):
    assert to_app([(b"Cookie", line)], FRONT) == ([(b"Cookie", kept)] if kept is not None else [])


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"token abc", False),
        (b"Token abc", False),
        (b"rmx abc", False),
        (b"Basic abc", True),
        (b"tokenize abc", True),
    ],
)
def test_authorization(value, kept):
    assert bool(to_app([(b"Authorization", value)], FRONT)) is kept


def test_hop_by_hop_headers_stop_here_also_those_that_connection_names():
    given = [
        (b"Connection", b"close, X-Named"),
        (b"connection", b"x-second , Host, content-length, Cookie"),
        (b"X-Named", b"1"),
        (b"X-Second", b"2"),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Upgrade", b"h2c"),
        (b"Content-Length", b"3"),
        (b"Cookie", b"a=1"),
        (b"Host", b"x"),
    ]
    assert to_app(given, FRONT) == [
        (b"Content-Length", b"3"),
        (b"Cookie", b"a=1"),
        (b"Host", b"localhost:8000"),
    ]


def test_a_coding_beats_a_length():
    given = [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked"), (b"ETag", b"x")]
    assert to_browser(given) == [(b"ETag", b"x")]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"http://p8000.demo-0a1b2c3d.localhost:8888", True),
        (b"http://p1.demo-0a1b2c3d.localhost:8888", True),
        (b"HTTP://P1.DEMO-0A1B2C3D.localhost:8888", True),
        (b"http://p8000.demo-0a1b2c3d.localhost:8889", False),
        (b"http://p8000.demo-0a1b2c3d.localhost", False),
        (b"http://p8000.other-0a1b2c3d.localhost:8888", False),
        (b"http://p8000.demo-0a1b2c3d.localhost:8888.evil.example", False),
        (b"http://p8000.demo-0a1b2c3d.localhost:8888/", False),
        (b"http://x@p8000.demo-0a1b2c3d.localhost:8888", False),
        (b"http://localhost:8888", False),
        (b"null", False),
        (b"", False),
    ],
)
def test_origins(origin, allowed):
    assert origin_allowed(origin, FRONT) is allowed


def test_what_asks_to_become_a_websocket():
    assert is_websocket([(b"connection", b"keep-alive, Upgrade"), (b"UPGRADE", b"WebSocket")])
    assert not is_websocket([(b"Upgrade", b"websocket")])
    assert not is_websocket([(b"Connection", b"upgrade"), (b"Upgrade", b"h2c")])


@pytest.mark.parametrize("path", ["/", "/a//b?c=//d#e", "/%2F"])
def test_local_paths(path):
    assert local_path(path) == path


@pytest.mark.parametrize("path", ["", "a", "//a", "/\\a", "http://a/", "/a b", "/a\r\nb", "/\x7f", "/\xe9"])
def test_paths_that_might_lead_elsewhere(path):
    assert local_path(path) is None
