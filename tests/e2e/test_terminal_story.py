"""Terminals of machines in a real JupyterLab: on a real OpenSSH server, and on the embedded machine."""

import os
import re
import time

import pytest
from playwright.sync_api import expect

from tests.terminal_host import TerminalHost

pytestmark = pytest.mark.browser

OPEN = "async args => (await window.jupyterapp.commands.execute('rmx:open-terminal', args))?.id ?? null"
TABS = """() => [...window.jupyterapp.shell.widgets('main')]
  .filter(widget => widget.hasClass('jp-rmx-TerminalTab')).map(widget => widget.title.label)"""
TERM = """id => {
  const tab = [...window.jupyterapp.shell.widgets('main')].find(widget => widget.id === id);
  const term = tab?.content._term;
  if (!term) return null;
  const buffer = term.buffer.active;
  const lines = [...Array(buffer.length).keys()].map(at => buffer.getLine(at).translateToString(true));
  return {text: lines.join('\\n').trimEnd(), cols: term.cols, rows: term.rows};
}"""
COLOUR = """([id, text]) => {
  const term = [...window.jupyterapp.shell.widgets('main')].find(widget => widget.id === id).content._term;
  const buffer = term.buffer.active;
  for (let at = buffer.length - 1; at >= 0; at--) {
    const line = buffer.getLine(at);
    if (line.translateToString(true).startsWith(text)) {
      const cell = line.getCell(0);
      return [cell.isFgRGB(), cell.getFgColor().toString(16)];
    }
  }
  return null;
}"""


HOME = {
    ".bash_profile": "PS1='\\w $ '; unset HISTFILE; alias ls='ls --color'\n",
    ".hushlogin": "",
}


@pytest.fixture(scope="module")
def gpu01(lab):
    """A real OpenSSH server, attached as `gpu01`."""
    if os.geteuid() != 0:
        pytest.skip("no-kernel-feature: chown of a terminal needs root")
    host = TerminalHost(HOME).start()
    lab.rest("POST", "workspaces", {"target": host.line, "name": "gpu01", "startup": "echo start''ed"})
    yield host
    lab.rest("DELETE", "workspaces/gpu01")
    host.stop()


class Tab:
    """A terminal tab: what stands in it, and keys as a person types them."""

    def __init__(self, page, tab_id):
        self.page, self.id = page, tab_id

    def state(self):
        return self.page.evaluate(TERM, self.id)

    def until(self, pattern):
        """Wait until the terminal's text matches."""
        deadline = time.monotonic() + 30
        while not (state := self.state()) or not re.search(pattern, state["text"], re.MULTILINE):
            assert time.monotonic() < deadline, state and state["text"][-2000:]
            self.page.wait_for_timeout(50)
        return state

    def type(self, line):
        self.page.locator(f"[id='{self.id}'] .xterm-helper-textarea").focus()
        self.page.keyboard.type(line)
        self.page.keyboard.press("Enter")

    def size(self):
        """Columns and rows as the shell there has them."""
        mark = f"size{time.monotonic_ns()}"
        self.type(f"echo {mark} $(stty size).")
        found = re.search(rf"^{mark} (\d+) (\d+)\.", self.until(rf"^{mark} \d+ \d+\.")["text"], re.MULTILINE)
        return int(found[2]), int(found[1])


@pytest.fixture
def open_terminal(lab_page):
    def open_(page=lab_page, **args):
        tab = Tab(page, page.evaluate(OPEN, args))
        assert tab.id is not None
        page.locator(f"[id='{tab.id}'] .xterm").wait_for()
        return tab

    return open_


@pytest.fixture(autouse=True)
def no_terminals_left(lab):
    yield
    for machine in ("gpu01", "demo"):
        if any(one["name"] == machine for one in lab.rest("GET", "machines")["machines"]):
            for one in lab.rest("GET", f"machines/{machine}/api/terminals"):
                lab.rest("DELETE", f"machines/{machine}/api/terminals/{one['name']}")


def test_a_terminal_on_a_real_host_types_shows_colours_and_fits_its_tab(gpu01, lab_page, open_terminal, shot):
    tab = open_terminal(machine="gpu01")
    tab.until("^started$")
    tab.type("echo $SSH_CONNECTION | wc -w; echo $TERM $COLORTERM $(locale charmap)")
    tab.until(r"^4\n(.*\n)?xterm-256color truecolor UTF-8$")
    tab.type(r"printf '\033[38;2;200;20;220mgr\303\274n \360\237\231\202\033[0m\n'")
    tab.until("^grün 🙂$")
    assert lab_page.evaluate(COLOUR, [tab.id, "grün"]) == [True, "c814dc"]
    assert re.fullmatch(r"gpu01: .+", lab_page.evaluate(TABS)[0])
    state = tab.state()
    assert tab.size() == (state["cols"], state["rows"])
    lab_page.set_viewport_size({"width": 1100, "height": 600})
    lab_page.wait_for_function(
        "([id, cols]) => [...window.jupyterapp.shell.widgets('main')].find(one => one.id === id)"
        ".content._term.cols < cols",
        arg=[tab.id, state["cols"]],
    )
    smaller = tab.state()
    assert tab.size() == (smaller["cols"], smaller["rows"])
    lab_page.set_viewport_size({"width": 1400, "height": 860})
    shot("terminal")


def test_a_reload_brings_back_the_same_shell_and_what_it_showed(gpu01, lab, lab_page, open_terminal):
    tab = open_terminal(machine="gpu01")
    tab.until("^started$")
    with lab_page.expect_response(
        lambda response: (
            "api/workspaces" in response.url
            and response.request.method == "PUT"
            and "gpu01" in (response.request.post_data or "")
        )
    ):
        tab.type("here=still; echo ear''lier; seq 200; cd /tmp")
    tab.until("^200$")
    lab_page.goto(f"{lab.origin}/lab")
    lab_page.locator(f"[id='{tab.id}'] .xterm").wait_for()
    text = tab.until("^200$")["text"]
    assert text.count("\nearlier\n") == 1
    assert "\n".join(map(str, range(1, 201))) in text
    tab.type("echo $here the''re")
    tab.until("^still there$")
    assert len(lab.rest("GET", "machines/gpu01/api/terminals")) == 1


def test_a_lost_browser_connection_comes_back_without_doubled_output(gpu01, lab_page, open_terminal):
    tab = open_terminal(machine="gpu01")
    tab.until("^started$")
    tab.type("here=still; echo on''ce")
    tab.until("^once$")
    lab_page.evaluate(
        "id => [...window.jupyterapp.shell.widgets('main')].find(one => one.id === id).content.session._ws.close(4000)",
        tab.id,
    )
    tab.type("echo $here the''re")
    text = tab.until("^still there$")["text"]
    assert text.count("\nonce\n") == 1


def test_a_second_window_sees_the_same_and_the_smaller_one_decides(
    gpu01, lab, lab_page, lab_context, open_terminal
):
    tab = open_terminal(machine="gpu01")
    tab.until("^started$")
    tab.type("echo fir''st")
    tab.until("^first$")
    other = lab_context.new_page()
    try:
        other.set_viewport_size({"width": 1000, "height": 500})
        other.goto(f"{lab.origin}/lab/workspaces/second")
        other.wait_for_function("window.jupyterapp !== undefined")
        other.evaluate("window.jupyterapp.restored")
        second = open_terminal(other, machine="gpu01", name="1")
        second.until("^first$")
        second.type("echo sec''ond")
        tab.until("^second$")
        small = second.state()
        assert small["cols"] < tab.state()["cols"]
        assert tab.size() == (small["cols"], small["rows"])
    finally:
        other.close()
    tab.until("second")
    large = tab.state()
    assert tab.size() == (large["cols"], large["rows"])


def test_a_lost_host_is_a_new_shell_that_says_so(gpu01, lab_page, open_terminal, shot):
    tab = open_terminal(machine="gpu01")
    tab.until("^started$")
    gpu01.cut()
    tab.until(r"The connection to gpu01 was lost at \d\d:\d\d; this is a new shell\.(.|\n)*^started$")
    tab.type("echo ba''ck")
    text = re.sub(r" +$", "", tab.until("^back$")["text"], flags=re.MULTILINE)
    assert re.fullmatch(
        r"~ \$ echo start''ed\nstarted\n~ \$\n The connection .* again …\n\n The connection .* new shell\.\n"
        r"~ \$ echo start''ed\nstarted\n~ \$ echo ba''ck\nback(\n~ \$)?",
        text,
    ), text
    shot("terminal-lost")


def test_the_menu_copies_and_pastes_and_shuts_down(gpu01, lab, lab_page, lab_context, open_terminal, shot):
    lab_context.grant_permissions(["clipboard-read", "clipboard-write"], origin=lab.origin)
    tab = open_terminal(machine="gpu01")
    tab.until("^started$")
    lab_page.evaluate("navigator.clipboard.writeText('echo \"two\\nlines\"')")
    body = lab_page.locator(f"[id='{tab.id}'] .jp-Terminal")
    body.click(button="right")
    shot("terminal-menu", themes=("Light",))
    lab_page.keyboard.press("Escape")
    body.click(button="right")
    lab_page.locator(".lm-Menu-itemLabel", has_text="Paste").click()
    # Bracketed: the shell takes both lines as one text, and waits for Enter.
    tab.until(r'^~ \$ echo "two\n.*lines"')
    lab_page.keyboard.press("Enter")
    tab.until(r"^two\nlines$")
    lab_page.evaluate(
        "id => [...window.jupyterapp.shell.widgets('main')].find(one => one.id === id).content._term.selectLines(0, 0)",
        tab.id,
    )
    body.click(button="right")
    lab_page.locator(".lm-Menu-itemLabel", has_text="Copy").click()
    assert lab_page.evaluate("navigator.clipboard.readText()").strip()
    body.click(button="right")
    lab_page.locator(".lm-Menu-itemLabel", has_text="Shut Down Terminal").click()
    lab_page.wait_for_function(f"({TABS})().length === 0")
    assert lab.rest("GET", "machines/gpu01/api/terminals") == []


def test_the_palette_asks_for_a_machine_and_offers_what_runs_without_a_tab(
    gpu01, lab, lab_page, open_terminal, shot
):
    lab.create("demo")
    try:
        lab_page.keyboard.press("Control+Shift+C")
        lab_page.keyboard.type("Terminal on a Machine")
        lab_page.keyboard.press("Enter")
        dialog = lab_page.locator(".jp-Dialog")
        expect(dialog.locator("datalist option")).to_have_count(2)
        dialog.locator("input").first.fill("demo")
        shot("terminal-machine", themes=("Light",))
        lab_page.keyboard.press("Enter")
        lab_page.wait_for_function(f"({TABS})().length === 1")
        tab = Tab(lab_page, "jp-rmx-terminal-demo:1")
        tab.until(r"[$#]$")
        lab_page.evaluate("[...window.jupyterapp.shell.widgets('main')].forEach(widget => widget.dispose())")
        lab_page.evaluate(
            "args => { void window.jupyterapp.commands.execute('rmx:open-terminal', args); }",
            {"machine": "demo"},
        )
        dialog = lab_page.locator(".jp-Dialog")
        expect(dialog).to_contain_text("Terminals on demo")
        shot("terminal-choice", themes=("Light",))
        dialog.locator("select").select_option("Terminal 1, running")
        dialog.locator(".jp-mod-accept").click()
        tab = Tab(lab_page, "jp-rmx-terminal-demo:1")
        tab.until(r"[$#]")
        tab.type("exit")
        lab_page.wait_for_function(f"({TABS})().length === 0")
    finally:
        lab.rest("DELETE", "vms/demo")


def test_a_machine_that_is_not_there_is_said_with_what_to_do(lab_page, shot):
    assert (
        lab_page.evaluate(
            "args => { void window.jupyterapp.commands.execute('rmx:open-terminal', args); return null; }",
            {"machine": "nobody", "name": "1"},
        )
        is None
    )
    dialog = lab_page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("nobody")
    shot("terminal-error", themes=("Light",))
    lab_page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
