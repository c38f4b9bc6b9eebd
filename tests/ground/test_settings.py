"""Settings of a process that has no traits come from the environment."""

import os

import pytest

from jupyter_rmx.settings import OFF, Settings, default_owner, settings_from_environment


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith("JUPYTER_RMX_") and name != "JUPYTER_RMX_DATA_DIR":
            monkeypatch.delenv(name)


def given(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"JUPYTER_RMX_{name}", value)
    return settings_from_environment()


def test_without_variables_all_is_as_by_default(tmp_path):
    settings = settings_from_environment()
    assert settings == Settings()
    assert (settings.default_provider, settings.create_enabled, settings.max_active_owner) == (
        "local",
        True,
        50,
    )
    assert settings.resolved_database_url == f"sqlite+aiosqlite:///{settings.data_dir / 'store.sqlite3'}"


def test_the_data_directory_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert given(monkeypatch, DATA_DIR="deep/er").data_dir == tmp_path / "deep" / "er"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given(monkeypatch, DATA_DIR="~/rmx").data_dir == tmp_path / "rmx"


def test_a_database_by_url_is_never_shown(monkeypatch):
    settings = given(monkeypatch, DATABASE_URL="postgresql://me:s3cret@db/rmx")
    assert settings.resolved_database_url == "postgresql://me:s3cret@db/rmx"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("value", [*sorted(OFF), " OFF ", "No"])
def test_making_is_switched_off_by_words_that_mean_off(monkeypatch, value):
    assert not given(monkeypatch, CREATE_ENABLED=value).create_enabled


@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "", "offf", "2", "nope"])
def test_a_slip_of_the_pen_does_not_close_the_shop(monkeypatch, value):
    assert given(monkeypatch, CREATE_ENABLED=value).create_enabled


def test_switches_and_images_by_provider(monkeypatch):
    settings = given(
        monkeypatch,
        MY_CLOUD_ENABLED="off",
        LOCAL_ENABLED="yes",
        CREATE_ENABLED="0",
        MY_CLOUD_IMAGE="big",
        X_IMAGE=" ",
    )
    assert settings.disabled_providers == {"my_cloud"}, "CREATE is no provider"
    assert settings.images == {"my_cloud": "big"}


def test_the_default_provider(monkeypatch):
    assert given(monkeypatch, DEFAULT_PROVIDER="cloud").default_provider == "cloud"
    assert given(monkeypatch, DEFAULT_PROVIDER="").default_provider == "local"


def test_the_owner_is_who_runs_jupyter_also_without_an_account(monkeypatch):
    import getpass

    assert default_owner() == getpass.getuser()

    def nobody():
        raise KeyError("no passwd entry")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert default_owner() == f"uid-{os.getuid()}"


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        Settings().owner = "you"


@pytest.mark.parametrize(
    ("text", "limit", "delay"),
    [("7", 7, 7.0), ("0", 0, 0.0), ("007", 7, 7.0), ("999999999", 999999999, 999999999.0)],
)
def test_how_a_lost_connection_is_tried_again(monkeypatch, text, limit, delay):
    settings = given(monkeypatch, RECONNECT_LIMIT=text, RECONNECT_DELAY_SECONDS=text)
    assert (settings.reconnect_limit, settings.reconnect_delay_s) == (limit, delay)
    assert isinstance(settings.reconnect_delay_s, float)


@pytest.mark.parametrize("text", ["", "-1", "2.5", " 3", "3 ", "1e3", "ten", "٣", "1234567890", "0x10"])
def test_what_is_not_digits_is_the_default(monkeypatch, text):
    settings = given(monkeypatch, RECONNECT_LIMIT=text, RECONNECT_DELAY_SECONDS=text)
    assert (settings.reconnect_limit, settings.reconnect_delay_s) == (20, 2.0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "accept-new"),
        ("accept-new", "accept-new"),
        ("strict", "strict"),
        ("acept-new", "strict"),
        ("no", "strict"),
    ],
)
def test_a_slip_of_the_pen_does_not_open_what_was_shut(monkeypatch, text, rule):
    assert given(monkeypatch, HOST_KEYS=text).host_keys == rule
