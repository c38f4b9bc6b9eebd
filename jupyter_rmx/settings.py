"""Settings as one frozen value: traits of the server extension, or the environment, become this."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

HostKeys = Literal["accept-new", "strict"]


def default_data_dir() -> Path:
    """Where machines and their records live: `JUPYTER_RMX_DATA_DIR`, else the user's data directory."""
    chosen = os.environ.get("JUPYTER_RMX_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("jupyter_rmx", appauthor=False)


def default_owner() -> str:
    """The user whose machines these are: the account that runs Jupyter."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no passwd entry, as in some containers
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "user"


@dataclass(frozen=True)
class Settings:
    """All settings, with their defaults.

    owner
        Whose machines are seen and made.
    data_dir
        Holds the store (`store.sqlite3`) and the embedded machines (`local/`).
    database_url
        SQLAlchemy URL of the store; empty means SQLite in `data_dir`.
    alias_domain
        Domain of the alias hosts (design.md § 3.1).
    default_provider
        Used when a request names none.
    orphan_after_s
        Seconds after the last sign of life of any Jupyter of this user at which an embedded machine ends itself.
    upload_max_bytes
        Largest single file that an upload accepts.
    spool_max_bytes
        Output of one command that waits on disk for a reader that is slower than it; beyond it the command waits. All
        of it is still shown after an interrupt, so it is not larger.
    max_active_owner
        How many machines the owner may have that are being made, running or being ended.
    create_enabled, disabled_providers
        Switch off the making of machines, of all providers or of some; what is there goes on.
    images
        Image by provider, for requests that name none; None or missing: the driver's default.
    allowed_images
        If not empty, the only images that may be asked for.
    allowed_providers
        If not empty, the only providers that new machines may come from.
    host_keys
        What happens at a host of the user's own whose key nobody knows yet: `accept-new` keeps it in
        `data_dir/known_hosts`, `strict` refuses (`JUPYTER_RMX_HOST_KEYS`). A changed key is refused always.
    reconnect_limit
        How often in a row a lost connection that is kept is tried again by itself; 0: never.
    reconnect_delay_s
        Seconds before the first of these tries; each next one waits twice as long, up to 60 s.
    """

    owner: str = field(default_factory=default_owner)
    data_dir: Path = field(default_factory=default_data_dir)
    database_url: str = field(default="", repr=False)  # may hold a password
    alias_domain: str = "localhost"
    default_provider: str = "local"
    orphan_after_s: float = 8 * 3600.0
    upload_max_bytes: int = 16 * 1024**3
    spool_max_bytes: int = 64 * 1024**2
    max_active_owner: int = 50
    create_enabled: bool = True
    disabled_providers: frozenset[str] = frozenset()
    images: dict[str, str] = field(default_factory=dict)
    allowed_images: frozenset[str] = frozenset()
    allowed_providers: frozenset[str] = frozenset()
    host_keys: HostKeys = "accept-new"
    reconnect_limit: int = 20
    reconnect_delay_s: float = 2.0

    @property
    def resolved_database_url(self) -> str:
        """`database_url`, or the SQLite file in `data_dir`."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'store.sqlite3'}"


OFF = frozenset({"0", "false", "no", "off", "disabled"})
_PREFIX = "JUPYTER_RMX_"


def settings_from_environment() -> Settings:
    """Settings of a process that has no traits.

    `JUPYTER_RMX_DATA_DIR`, `JUPYTER_RMX_DATABASE_URL`, `JUPYTER_RMX_DEFAULT_PROVIDER`, `JUPYTER_RMX_CREATE_ENABLED`,
    `JUPYTER_RMX_HOST_KEYS`, and by provider `JUPYTER_RMX_<PROVIDER>_ENABLED` and `JUPYTER_RMX_<PROVIDER>_IMAGE`. A
    switch is off for 0, false, no, off and disabled only: a slip of the pen must not close the shop. Also
    `JUPYTER_RMX_RECONNECT_LIMIT` and `JUPYTER_RMX_RECONNECT_DELAY_SECONDS`, in digits; all else is the default.
    """
    by_provider = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    return Settings(
        default_provider=os.environ.get(f"{_PREFIX}DEFAULT_PROVIDER") or "local",
        database_url=os.environ.get(f"{_PREFIX}DATABASE_URL", ""),
        create_enabled=not _is_off(os.environ.get(f"{_PREFIX}CREATE_ENABLED")),
        disabled_providers=frozenset(
            provider for provider, value in _by_provider(by_provider, "_ENABLED").items() if _is_off(value)
        ),
        images={
            provider: image
            for provider, image in _by_provider(by_provider, "_IMAGE").items()
            if image.strip()
        },
        # Anything but the loose word is strict: a slip of the pen must not open what was to be shut.
        host_keys="accept-new"
        if os.environ.get(f"{_PREFIX}HOST_KEYS") in (None, "", "accept-new")
        else "strict",
        reconnect_limit=_digits(os.environ.get(f"{_PREFIX}RECONNECT_LIMIT"), Settings.reconnect_limit),
        reconnect_delay_s=_digits(
            os.environ.get(f"{_PREFIX}RECONNECT_DELAY_SECONDS"), Settings.reconnect_delay_s
        ),
    )


_Number = TypeVar("_Number", int, float)


def _digits(value: str | None, default: _Number) -> _Number:
    """The number that the digits say; the default for all else, and for more digits than anybody means."""
    digits = re.fullmatch(r"[0-9]{1,9}", value or "", re.ASCII)
    return type(default)(digits[0]) if digits else default


def _is_off(value: str | None) -> bool:
    return value is not None and value.strip().lower() in OFF


def _by_provider(variables: dict[str, str], suffix: str) -> dict[str, str]:
    """Values by the provider's name as it stands in a variable: lower case, `_` for `-`."""
    return {
        name[len(_PREFIX) : -len(suffix)].lower(): value
        for name, value in variables.items()
        if name.endswith(suffix) and name != f"{_PREFIX}CREATE_ENABLED"
    }
