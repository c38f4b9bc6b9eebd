"""How long a person waits: import, server start, create to first exec, the quickstart.

Each figure is measured interleaved with its peer (the same thing without us) in one run; `--json` prints the same table
as JSON. Bounds are those of the issue; they are shown, not asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from jupyter_rmx.testing.server import JupyterServer

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("asyncssh", "sqlalchemy", "ipywidgets")


@dataclass
class Figure:
    """One row: ours and the peer's median in seconds, and what was promised."""

    name: str
    ours_s: float
    peer_s: float | None
    promised: str
    kept: bool
    runs: int
    low_s: float
    high_s: float

    @property
    def ratio(self) -> float | None:
        return self.ours_s / self.peer_s if self.peer_s else None


def figure(name, ours, peer, promised, kept):
    median = statistics.median(ours)
    peer_median = statistics.median(peer) if peer else None
    return Figure(
        name, median, peer_median, promised, kept(median, peer_median), len(ours), min(ours), max(ours)
    )


def python_seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def bench_import(runs: int) -> Figure:
    check = f"import sys, jupyter_rmx; found = {{*{HEAVY!r}}} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", check], check=True)
    ours, peer = [], []
    for _ in range(runs):
        peer.append(python_seconds("pass"))
        ours.append(python_seconds("import jupyter_rmx"))
    return figure(
        "import jupyter_rmx (peer: empty Python)",
        ours,
        peer,
        "adds < 0.100 s",
        lambda mine, empty: mine - empty < 0.1,
    )


def start_seconds(folder: Path, *, extension: bool) -> float:
    """From the start of the process to the first answer of `/api`."""
    start = time.perf_counter()
    with JupyterServer(folder, extension=extension) as server:
        pattern = folder / "runtime" / f"jpserver-{server.pid}.json"
        while True:
            try:  # the file is written a little before the server listens
                urllib.request.urlopen(json.loads(pattern.read_text())["url"] + "api").read()
            except (OSError, ValueError):
                time.sleep(0.002)
            else:
                return time.perf_counter() - start


def bench_server_start(runs: int, folder: Path) -> Figure:
    ours, peer = [], []
    for number in range(runs + 1):
        for extension, times in ((False, peer), (True, ours)):
            seconds = start_seconds(folder, extension=extension)
            if number:  # the first pair warms the disk cache
                times.append(seconds)
    name = "Jupyter server to its first answer (peer: without us)"
    return figure(name, ours, peer, "adds < 0.150 s", lambda mine, without: mine - without < 0.15)


def bench_create(runs: int, folder: Path) -> list[Figure]:
    from IPython.core.interactiveshell import InteractiveShell

    with JupyterServer(folder) as server:
        assert server.connection
        os.environ.update(
            {name: server.environment[name] for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_RMX_DATA_DIR")}
        )
        shell = InteractiveShell.instance()
        shell.run_line_magic("load_ext", "jupyter_rmx")
        first, again, local = [], [], []
        for number in range(runs + 1):
            start = time.perf_counter()
            shell.run_line_magic("vm", f"create bench{number}")
            shell.run_line_magic("vm", f"exec bench{number} -- true")
            middle = time.perf_counter()
            shell.run_line_magic("vm", f"exec bench{number} -- true")
            end = time.perf_counter()
            subprocess.run(["/bin/sh", "-c", "true"], check=True)
            spawned = time.perf_counter()
            shell.run_line_magic("vm", f"destroy bench{number}")
            if number:
                first.append(middle - start)
                again.append(end - middle)
                local.append(spawned - end)
        shell.run_line_magic("unload_ext", "jupyter_rmx")
    return [
        figure("%vm create to the first exec's end", first, None, "< 1 s", lambda mine, _: mine < 1),
        figure("%vm exec -- true (peer: a local shell)", again, local, "-", lambda *_: True),
    ]


def bench_quickstart(folder: Path) -> Figure:
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "notebooks/run_headless.py",
            "notebooks/01_quickstart.ipynb",
            "--output",
            str(folder / "out"),
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return figure(
        "quickstart, headless, after set-up",
        [time.perf_counter() - start],
        None,
        "< 20 s",
        lambda mine, _: mine < 20,
    )


def show(figures: list[Figure]) -> None:
    print(f"{'':58}{'median':>9}{'min':>9}{'max':>9}{'peer':>9}{'ratio':>8}  promised")
    for row in figures:
        peer = f"{row.peer_s:8.3f}s" if row.peer_s else f"{'-':>9}"
        ratio = f"{row.ratio:7.2f}x" if row.ratio else f"{'-':>8}"
        times = f"{row.ours_s:8.3f}s{row.low_s:8.3f}s{row.high_s:8.3f}s"
        print(f"{row.name:58}{times}{peer}{ratio}  {row.promised}{'' if row.kept else '  MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--runs", type=int, default=9, help="counted runs of each (default 9)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rmx-bench-") as name:
        folder = Path(name)
        figures = [bench_import(given.runs), bench_server_start(given.runs, folder)]
        figures += bench_create(given.runs, folder)
        if (ROOT / "notebooks" / "run_headless.py").exists():
            figures.append(bench_quickstart(folder))
    if given.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in figures], indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
