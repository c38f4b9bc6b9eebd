"""A real PostgreSQL for the tests: our own cluster, as an ordinary user, on a free port; a database for each test."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

USER = "rmx"
PASSWORD = "se/cr@et"
QUOTED_PASSWORD = "se%2Fcr%40et"
FAIL_SAFE_S = 120
# PostgreSQL refuses to run as root; Debian's `nobody` owns nothing.
ORDINARY_USER = "nobody"


def programs():
    """The folder of initdb and postgres: the newest of Debian's packages, or what is on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).resolve().parent
    pytest.fail("PostgreSQL is not installed: run `make needs` (Debian's package postgresql)")


class Cluster:
    """A PostgreSQL server in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = programs()
        self.port = _free_port()
        self._as_user = {}
        if os.geteuid() == 0:
            shutil.chown(folder, ORDINARY_USER)
            self._as_user = {"user": ORDINARY_USER, "group": _group_of(ORDINARY_USER), "extra_groups": []}
        self._server = None
        self._names = itertools.count()

    def make(self):
        """Make the cluster's files; writes are synced, as in life."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", "data", "-U", USER, "-E", "UTF8", "--locale=C", "--auth=scram-sha-256",
                  "--pwfile=password")  # fmt: skip

    def start(self):
        """Start the server and wait until it answers."""
        command = [self.programs / "postgres", "-D", "data", "-p", str(self.port),
                   "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]  # fmt: skip
        if shutil.which("setpriv"):  # it ends with us, even if we are killed
            command = ["setpriv", "--pdeathsig", "QUIT", *command]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, **self._as_user,
            )  # fmt: skip
        deadline = time.monotonic() + FAIL_SAFE_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def stop(self):
        """Stop it as a crash would."""
        if self._server is not None and self._server.poll() is None:
            self._run("pg_ctl", "stop", "-D", "data", "-m", "immediate", "-w")
            self._server.wait(FAIL_SAFE_S)

    @contextlib.contextmanager
    def stopped(self):
        """While it lasts there is no server."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self):
        """While it lasts the server accepts connections and never answers, as behind a dead network."""
        os.kill(self._server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server.pid, signal.SIGCONT)

    def url(self, database):
        """What a user types."""
        return f"postgresql://{USER}:{QUOTED_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def run_sql(self, sql, database="postgres"):
        """Do something as the administrator; returns the rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def database(self):
        """An empty database; gone afterwards, with all its connections."""
        name = f"test_{next(self._names)}"
        self.run_sql(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.run_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self.programs / program, *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, **self._as_user,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def _group_of(user):
    import pwd

    return pwd.getpwnam(user).pw_gid


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_cluster():
    """One server for the session."""
    folder = Path(tempfile.mkdtemp(prefix="rmx-pg-"))
    cluster = Cluster(folder)
    try:
        cluster.make()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_cluster):
    """A database of the test's own."""
    with postgres_cluster.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """Each of the two databases, empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/er/store.sqlite3"
    return request.getfixturevalue("postgres_url")
