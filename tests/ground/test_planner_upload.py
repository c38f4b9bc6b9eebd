"""Where each file of an upload goes, and why some do not go."""

import dataclasses
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.models import FileItem
from jupyter_rmx.planner.upload import plan_upload


def item(name, kind="file", size=1, source=None):
    return FileItem(
        source=source if source is not None else f"/home/me/{name}", name=name, kind=kind, size=size
    )


def plan(*items, directory="", max_bytes=100):
    return plan_upload(items, directory=directory, max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("directory", "remote"),
    [
        ("", "a.csv"),
        ("data", "data/a.csv"),
        ("data/", "data/a.csv"),
        ("/srv/x", "/srv/x/a.csv"),
        ("/", "/a.csv"),
        ("~/x", "~/x/a.csv"),
    ],
)
def test_where_it_goes(directory, remote):
    done = plan(item("a.csv"), directory=directory)
    assert [upload.remote_path for upload in done.uploads] == [remote]
    assert done.rejections == ()


@pytest.mark.parametrize(
    "name", ["ünï 日本", "new\nline", "-rf", "a" * 255, "日" * 85, "~", "$HOME", "raw-\udcff"]
)
def test_odd_names_that_are_fine(name):
    assert plan(item(name), directory="d").uploads[0].remote_path == f"d/{name}"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (item("data", "folder"), "transfer_is_folder"),
        (item("x", "missing"), "transfer_missing_file"),
        (item("x", "other"), "transfer_not_a_file"),
        (item("x", size=101), "transfer_too_large"),
        (item(""), "transfer_bad_name"),
        (item("."), "transfer_bad_name"),
        (item(".."), "transfer_bad_name"),
        (item("a/b"), "transfer_bad_name"),
        (item("a\0b"), "transfer_bad_name"),
        (item("half-\ud800"), "transfer_bad_name"),
        (item("a" * 256), "transfer_bad_name"),
        (item("日" * 86), "transfer_bad_name"),
    ],
)
def test_what_is_left_alone(bad, code):
    done = plan(item("good"), bad)
    assert [upload.item.name for upload in done.uploads] == ["good"]
    assert [(rejection.item, rejection.code) for rejection in done.rejections] == [(bad, code)]
    assert done.rejections[0].reason
    assert done.rejections[0].hint
    assert "\n" not in done.rejections[0].reason + done.rejections[0].hint


def test_the_words_for_a_folder():
    rejection = plan(item("data", "folder", source="data/")).rejections[0]
    assert rejection.reason == "data/ is a folder."
    assert rejection.hint == "Upload its files (data/*), or pack it: tar czf data.tgz data"


def test_the_words_for_a_large_file():
    rejection = plan(item("big", size=3 * 1024**3), max_bytes=1024**3).rejections[0]
    assert rejection.reason == "big has 3 GiB; at most 1 GiB are allowed."


def test_the_limit_itself_is_allowed():
    assert plan(item("x", size=100)).uploads


def test_of_two_with_one_name_the_first_goes():
    first, second, third = item("a", source="x/a"), item("a", source="y/a"), item("b")
    done = plan(first, second, third)
    assert [upload.item for upload in done.uploads] == [first, third]
    assert [(one.item, one.code) for one in done.rejections] == [(second, "transfer_same_name")]


def test_one_that_is_rejected_does_not_take_the_name():
    assert plan(item("a", "folder"), item("a")).uploads[0].item.kind == "file"


def test_nothing():
    assert plan() == plan_upload([], directory="x", max_bytes=0)
    assert plan().uploads == plan().rejections == ()


ITEMS = st.builds(
    FileItem,
    source=st.text(max_size=20),
    name=st.text(max_size=12) | st.sampled_from([".", "..", "a", "b", "a/b", "../x", "\0"]),
    kind=st.sampled_from(["file", "folder", "missing", "other"]),
    size=st.integers(0, 200),
)


@given(st.lists(ITEMS, max_size=12), st.sampled_from(["", "d", "d/e/", "/abs", "~/x"]))
def test_every_item_is_planned_once_and_stays_in_its_folder(items, directory):
    items = [dataclasses.replace(one, source=f"{place}:{one.source}") for place, one in enumerate(items)]
    done = plan_upload(items, directory=directory, max_bytes=100)
    planned = [upload.item for upload in done.uploads] + [rejection.item for rejection in done.rejections]
    assert sorted(planned, key=repr) == sorted(items, key=repr)
    paths = [upload.remote_path for upload in done.uploads]
    assert len(set(paths)) == len(paths)
    for upload in done.uploads:
        assert upload.item.kind == "file"
        assert upload.item.size <= 100
        assert posixpath.dirname(upload.remote_path) == directory.rstrip("/")
        assert posixpath.basename(upload.remote_path) == upload.item.name
        assert upload.item.name not in {"", ".", ".."}
    for rejection in done.rejections:
        assert rejection.code.startswith("transfer_")
        assert rejection.reason
        assert rejection.hint
    for some in (done.uploads, done.rejections):
        places = [items.index(one.item) for one in some]
        assert places == sorted(places)
