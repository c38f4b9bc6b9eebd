"""A host of one's own in a notebook of a real JupyterLab: attached with a masked prompt, used, seen in the list."""

import pytest
from playwright.sync_api import expect

from tests.own_host import PASSPHRASE, CuriousHost, OwnHost, files_with

pytestmark = pytest.mark.browser

SAVE = "window.jupyterapp.commands.execute('docmanager:save')"
KERNEL_IS_READY = """name => {
  const panel = window.jupyterapp.shell.currentWidget;
  return panel?.title.label === name && panel.sessionContext?.session?.kernel?.status === 'idle';
}"""


@pytest.fixture(scope="module")
def host():
    running = OwnHost()
    yield running
    running.finish()


@pytest.fixture(scope="module")
def curious():
    running = CuriousHost()
    yield running
    running.finish()


@pytest.fixture
def notebook(lab, lab_page):
    """Make a notebook of some cells, open it, and give its locator."""

    def cell(source):
        return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}

    def open_(name, *sources):
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = {
            "cells": [cell(source) for source in sources],
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 4,
        }
        lab.request("PUT", f"api/contents/{name}", {"type": "notebook", "content": content})
        open_path = "path => void window.jupyterapp.commands.execute('docmanager:open', {path})"
        lab_page.evaluate(open_path, name)
        lab_page.wait_for_function(KERNEL_IS_READY, arg=name)
        return lab_page.locator(".jp-NotebookPanel")

    yield open_
    for workspace in lab.rest("GET", "workspaces")["workspaces"]:
        lab.rest("DELETE", f"workspaces/{workspace['name']}")


@pytest.fixture
def run_all(lab_page):
    """Run > Run All Cells, with the mouse."""

    def run():
        lab_page.locator(".lm-MenuBar-item", has_text="Run").first.click()
        lab_page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()

    return run


def output(panel, number):
    return panel.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea").first


def saved(lab, page, name):
    """The notebook as it lies on the disk."""
    page.evaluate(SAVE)
    return (lab.root / name).read_text()


def test_attach_asks_masked_and_the_host_is_a_machine(lab, lab_page, host, notebook, run_all, shot):
    panel = notebook(
        "attach.ipynb",
        "%load_ext jupyter_rmx",
        f"%vm attach {host.line()}",
        "%%vm\necho hello from there; echo and a warning >&2",
        "%vm ls",
        "%vm info gpu01",
    )
    run_all()
    prompt = panel.locator("input.jp-Stdin-input")
    expect(prompt).to_have_attribute("type", "password")
    expect(output(panel, 1)).to_contain_text("locked")
    prompt.fill(PASSPHRASE)
    shot("attach-prompt")
    prompt.press("Enter")
    expect(output(panel, 1)).to_contain_text("gpu01 over SSH")
    expect(output(panel, 1)).to_contain_text("It is the default machine now")
    expect(output(panel, 2)).to_contain_text("hello from there")
    expect(output(panel, 3)).to_contain_text("Default machine: gpu01")
    expect(output(panel, 4)).to_contain_text("ssh_config")
    shot("attach")
    output(panel, 1).get_by_role("button", name="Open a terminal on it").click()
    expect(lab_page.locator(".lm-TabBar-tabLabel", has_text="gpu01")).to_be_visible()
    expect(lab_page.locator(".jp-Terminal .xterm-screen")).to_be_visible()
    shot("attach-terminal")
    lab_page.evaluate("void window.jupyterapp.commands.execute('docmanager:open', {path: 'attach.ipynb'})")
    text = saved(lab, lab_page, "attach.ipynb")
    assert "hello from there" in text and PASSPHRASE not in text
    assert files_with(PASSPHRASE, lab.folder) == []


def test_an_answer_typed_in_the_open_is_not_kept_either(lab, lab_page, curious, notebook, run_all, shot):
    panel = notebook("curious.ipynb", "%load_ext jupyter_rmx", f"%vm attach {curious.line()}")
    run_all()
    code, pin = curious.ANSWERS
    prompt = panel.locator("input.jp-Stdin-input")
    expect(prompt).not_to_have_attribute("type", "password")
    expect(output(panel, 1)).to_contain_text("Type what your device shows.")
    prompt.fill(code)
    shot("attach-code")
    prompt.press("Enter")
    masked = panel.locator("input.jp-Stdin-input[type=password]")
    masked.fill(pin)
    masked.press("Enter")
    expect(output(panel, 1)).to_contain_text("It is the default machine now")
    text = saved(lab, lab_page, "curious.ipynb")
    assert "default machine" in text
    assert code not in text and pin not in text
    assert files_with(code, lab.folder) == files_with(pin, lab.folder) == []


def test_what_goes_wrong_is_one_line_with_a_next_step(lab, lab_page, host, notebook, shot):
    panel = notebook(
        "refused.ipynb",
        "%load_ext jupyter_rmx",
        "%vm attach ssh -F /dev/null -p 1 me@127.0.0.1",
        f"%vm attach {host.line()}",
    )

    def run(number):
        panel.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
        lab_page.keyboard.press("Control+Enter")

    run(0)
    run(1)
    expect(output(panel, 1)).to_contain_text("TransportError")
    expect(output(panel, 1)).not_to_contain_text("Traceback")
    run(2)
    expect(panel.locator("input.jp-Stdin-input")).to_be_visible()
    lab_page.evaluate("window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    expect(output(panel, 2)).to_contain_text("Attaching gpu01 was given up: it is not connected.")
    expect(output(panel, 2)).not_to_contain_text("Traceback")
    shot("attach-errors")
