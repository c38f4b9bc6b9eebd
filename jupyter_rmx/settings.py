"""Settings as one frozen value: traits of the server extension, or the environment, become this."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


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
    """

    owner: str = field(default_factory=default_owner)
    data_dir: Path = field(default_factory=default_data_dir)
    database_url: str = ""
    alias_domain: str = "localhost"
    default_provider: str = "local"
    orphan_after_s: float = 8 * 3600.0
    upload_max_bytes: int = 16 * 1024**3

    @property
    def resolved_database_url(self) -> str:
        """`database_url`, or the SQLite file in `data_dir`."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'store.sqlite3'}"


def settings_from_environment() -> Settings:
    """Settings of a process that has no traits: defaults plus `JUPYTER_RMX_DEFAULT_PROVIDER` and the data directory."""
    return Settings(default_provider=os.environ.get("JUPYTER_RMX_DEFAULT_PROVIDER") or "local")
