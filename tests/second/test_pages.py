"""Our own pages: escaped, self-contained, and framed by JupyterLab and the machine's own pages only."""

import re

import pytest

from jupyter_rmx.loopback import pages
from jupyter_rmx.loopback.headers import Front

FRONT = Front.of_host("p8000.demo-0a1b2c3d.localhost:8888", "localhost")
ALL = {
    "waiting": pages.waiting_page(FRONT, 8000, "demo"),
    "unsent": pages.unsent_page(FRONT, 8000, "demo"),
    "gone": pages.gone_page(FRONT),
    "gone without a front": pages.gone_page(None),
    "run out": pages.run_out_page(FRONT, 8000, "demo"),
    "unreachable": pages.unreachable_page(FRONT, "demo", "a", "b", retry=True),
    "broken": pages.broken_page(FRONT, 8000, "demo"),
}


def policy(answer):
    text = dict(answer.headers)[b"Content-Security-Policy"].decode()
    return dict(rule.split(" ", 1) for rule in text.split("; "))


@pytest.mark.parametrize("name", ALL)
def test_a_page_needs_nothing_else_and_runs_under_its_own_policy(name):
    answer = ALL[name]
    text, rules = answer.body.decode(), policy(answer)
    assert rules["default-src"] == "'none'"
    nonce = re.fullmatch(r"'nonce-([\w-]+)'", rules["style-src"])[1]
    assert rules["script-src"] == f"'nonce-{nonce}'"
    assert set(re.findall(r"<(?:style|script)[^>]*>", text)) <= {
        f'<style nonce="{nonce}">',
        f'<script nonce="{nonce}">',
    }
    assert not re.search(r"https?://|src=|href=|\son\w+=|style=", text)
    assert 'lang="en"' in text
    assert text.count("<h1>") == 1
    assert b"X-Frame-Options" not in dict(answer.headers)
    assert dict(answer.headers)[b"Cache-Control"] == b"no-store"


def test_who_may_frame_a_page():
    assert policy(ALL["waiting"])["frame-ancestors"].split() == [
        "'self'",
        "http://localhost:8888",
        "http://127.0.0.1:8888",
        "http://*.demo-0a1b2c3d.localhost:8888",
        "https://localhost:8888",
        "https://127.0.0.1:8888",
        "https://*.demo-0a1b2c3d.localhost:8888",
    ]
    bare = Front.of_host("p8000.demo-0a1b2c3d.localhost", "localhost")
    assert "http://localhost " in policy(pages.gone_page(bare))["frame-ancestors"]


def test_no_nonce_is_used_twice():
    assert policy(pages.gone_page(FRONT)) != policy(pages.gone_page(FRONT))


def test_texts_are_escaped():
    page = pages.unreachable_page(FRONT, "<a>", "<script>alert(1)</script>", 'x" & <b>', retry=True)
    text = page.body.decode()
    for bad in ("<a>", "<script>alert", "<b>"):
        assert bad not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_only_pages_that_can_help_themselves_ask_again():
    asking = {name for name, answer in ALL.items() if b"/__rmx__/status" in answer.body}
    assert asking == {"waiting", "unreachable"}
    assert b"<script" not in pages.unreachable_page(FRONT, "demo", "a", "b", retry=False).body
