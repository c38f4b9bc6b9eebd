"""`%vm` in notebooks of a real JupyterLab: output as it comes, the tab that opens once, and the quickstart."""

import errno

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

CURRENT = "window.jupyterapp.shell.currentWidget.title.label"
KERNEL_IS_READY = """name => {
  const panel = window.jupyterapp.shell.currentWidget;
  return panel?.title.label === name && panel.sessionContext?.session?.kernel?.status === 'idle';
}"""
BUSY = ".jp-Notebook-ExecutionIndicator:not([data-status=idle])"
SAVE = "window.jupyterapp.commands.execute('docmanager:save')"
CLOSE = "label => [...window.jupyterapp.shell.widgets('main')].find(w => w.title.label === label).dispose()"


@pytest.fixture(scope="module")
def machine(lab):
    """A machine named `book`."""
    lab.create("book")
    yield "book"
    lab.rest("DELETE", "vms/book")


@pytest.fixture
def notebook(lab, lab_page):
    """Make a notebook of some cells, open it, and give its locator."""

    def cell(source):
        return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}

    def open_(name, *sources):
        if sources:
            content = {
                "cells": [cell(source) for source in sources],
                "metadata": {},
                "nbformat": 4,
                "nbformat_minor": 4,
            }
            content["metadata"]["kernelspec"] = {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
            lab.request("PUT", f"api/contents/{name}", {"type": "notebook", "content": content})
        lab_page.evaluate("path => void window.jupyterapp.commands.execute('docmanager:open', {path})", name)
        panel = lab_page.locator(".jp-NotebookPanel")
        lab_page.wait_for_function(KERNEL_IS_READY, arg=name)
        return panel

    return open_


@pytest.fixture
def run_all(lab_page):
    """Run > Run All Cells, with the mouse."""

    def run():
        lab_page.locator(".lm-MenuBar-item", has_text="Run").first.click()
        lab_page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()

    return run


def test_output_shows_while_the_cell_still_runs(lab, machine, notebook, run_all):
    wait = "while [ ! -e go ]; do sleep 0.1; done"
    panel = notebook(
        "stream.ipynb", "%load_ext jupyter_rmx", f"%%vm book\necho first line\n{wait}\necho last line"
    )
    run_all()
    cell = panel.locator(".jp-CodeCell").nth(1)
    expect(cell.locator(".jp-OutputArea-output")).to_have_text("first line\n")
    expect(cell.locator(".jp-InputPrompt")).to_have_text("[*]:")
    lab.put("book", "go", b"")
    expect(cell.locator(".jp-OutputArea-output")).to_have_text("first line\nlast line\n")
    expect(cell.locator(".jp-InputPrompt")).to_have_text("[2]:")


def test_a_failed_command_is_one_line_and_stops_the_rest(machine, notebook, run_all):
    panel = notebook("fail.ipynb", "%load_ext jupyter_rmx", "%vm exec book -- exit 3", "print('never')")
    run_all()
    output = panel.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output")
    expect(output).to_contain_text("The command on book ended with exit code 3.")
    expect(output).not_to_contain_text("Traceback")
    expect(panel.locator(".jp-CodeCell").nth(2).locator(".jp-InputPrompt")).to_have_text("[ ]:")


def test_open_shows_the_tab_beside_the_notebook_once(
    lab, lab_page, machine, notebook, run_all, host_server, shot
):
    port = host_server()
    lab.serve_app("book", port)
    panel = notebook("open.ipynb", "%load_ext jupyter_rmx", f"%vm open book {port}")
    run_all()
    frame = lab_page.frame_locator(f"[id='jp-rmx-port-book:{port}'] .jp-rmx-PortFrame")
    expect(frame.locator("h1")).to_have_text("Hello from book")
    card = panel.locator(".jp-rmx-OpenCard")
    expect(card).to_contain_text(f"book · port {port}")
    expect(panel).to_be_visible()
    assert lab_page.evaluate(CURRENT) == "open.ipynb"
    shot("notebook")

    # The saved notebook is opened again: its card claims once more, is refused, and that is all.
    lab_page.evaluate(SAVE)
    lab_page.evaluate(CLOSE, f"book:{port}")
    lab_page.evaluate(CLOSE, "open.ipynb")
    with lab_page.expect_response(f"**/machines/book/ports/{port}/ticket*") as claim:
        panel = notebook("open.ipynb")
    assert claim.value.status == 409
    expect(card).to_be_visible()
    expect(lab_page.locator(".jp-rmx-OpenOutput-note")).to_have_count(0)
    assert lab_page.locator(".jp-rmx-PortTab").count() == 0

    # Its button still opens the tab.
    card.get_by_role("button", name="Open tab").click()
    expect(frame.locator("h1")).to_have_text("Hello from book")


def test_a_card_of_a_machine_that_is_gone_says_so_and_opens_nothing(lab, lab_page, notebook, run_all):
    lab.create("brief")
    panel = notebook("gone.ipynb", "%load_ext jupyter_rmx", "%vm open brief 8121")
    run_all()
    expect(lab_page.locator(".jp-rmx-PortTab")).to_have_count(1)
    lab_page.evaluate(SAVE)
    lab.rest("DELETE", "vms/brief")
    lab_page.evaluate(CLOSE, "brief:8121")
    lab_page.evaluate(CLOSE, "gone.ipynb")
    panel = notebook("gone.ipynb")
    expect(panel.locator(".jp-rmx-OpenOutput-note")).to_contain_text("It was destroyed as asked.")
    assert lab_page.locator(".jp-rmx-PortTab").count() == 0


@pytest.fixture
def no_demo_left(lab):
    """The quickstart leaves its machine to its reader; here there is none."""
    yield
    lab.rest("DELETE", "vms/demo")


@pytest.fixture
def host_has_its_own_port_8000(host_server):
    """This computer's port 8000 serves something else, ours or that of whoever has it already."""
    try:
        host_server(8000)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise


@pytest.mark.usefixtures("no_demo_left", "host_has_its_own_port_8000")
def test_the_quickstart_runs_from_the_menu(lab_page, notebook, run_all, shot):
    panel = notebook("01_quickstart.ipynb")
    run_all()
    streamed = panel.locator(".jp-CodeCell", has_text="counting").locator(".jp-OutputArea-output")
    expect(streamed).to_contain_text("This is demo.")

    app = lab_page.frame_locator("[id='jp-rmx-port-demo:8000'] .jp-rmx-PortFrame")
    expect(app.locator("h1")).to_have_text("Hello from demo")
    expect(app.locator(".bar")).to_have_count(3)
    expect(app.locator("#state")).to_have_text("connected")
    app.get_by_label("A line to send").fill("over the wire")
    app.get_by_role("button", name="Send").click()
    expect(app.locator("#log")).to_have_text("demo heard: over the wire")
    app.get_by_label("Your message").fill("by the form")
    app.get_by_role("button", name="Post").click()
    expect(app.locator("#posted")).to_contain_text("by the form")

    expect(panel.locator(BUSY)).to_have_count(0)
    expect(panel.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(
        0
    )
    expect(panel.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output")).to_contain_text("demo")
    shot("quickstart")

    # Twice is fine: no error, no second machine, no second tab.
    run_all()
    expect(panel.locator(".jp-CodeCell", has_text="The app runs already.")).to_be_visible()
    expect(app.locator("#posted")).to_contain_text("by the form")
    assert lab_page.locator(".jp-rmx-PortTab").count() == 1
