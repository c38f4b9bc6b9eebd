"""Two processes that race, and the two stores on which they do."""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_url(request):
    """None for SQLite in the plane's folder, else the URL of an empty PostgreSQL database."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def racers():
    """Two children of the test's own: one that hangs or was killed disturbs no other test."""
    from racers import Racer

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Racer())) for _ in range(2)]


@pytest.fixture
def plane_at(tmp_path, jp_asyncio_loop):
    """Makes planes on the store that all share; closed at the end."""
    from plane import Plane

    with contextlib.ExitStack() as stack:

        def make(url, **options):
            plane = Plane(tmp_path / "world", url=url, **options)
            stack.callback(lambda: jp_asyncio_loop.run_until_complete(plane.aclose()))
            return plane

        yield make
