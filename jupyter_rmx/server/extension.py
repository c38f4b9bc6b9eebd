"""RmxExtension: what starts and stops with a Jupyter server."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Dict, Enum, Float, Int, List, Unicode, default

from jupyter_rmx._version import __version__
from jupyter_rmx.clock import SystemClock
from jupyter_rmx.connection import VARIABLE, Connection, runtime_dir, write_connection
from jupyter_rmx.errors import RmxError
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.manager_terminals import TerminalMachines
from jupyter_rmx.server.base import key_identity
from jupyter_rmx.server.routes import handlers
from jupyter_rmx.settings import Settings, settings_from_environment
from jupyter_rmx.terminals.hub import Terminals

if TYPE_CHECKING:
    from jupyter_rmx.loopback.gate import AliasTarget
    from jupyter_rmx.manager import MachineManager
    from jupyter_rmx.server.alias import AliasRoute

WARM_UP_AFTER_S = 0.5
REACHED_BY_LOOPBACK = frozenset({"", "*", "0.0.0.0", "::", "localhost", "127.0.0.1", "::1"})  # noqa: S104 - compared with
SERVE_OPTIONS = ("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--ServerApp.allow_root=True")


class LazyDirectory:
    """The alias directory of a service that is built when it is first asked for."""

    def __init__(self, manager: Callable[[], MachineManager]) -> None:
        self._manager = manager

    async def lookup(self, label: str) -> AliasTarget | None:
        """See `loopback.gate.AliasDirectory`."""
        return await self._manager().lookup(label)


class RmxExtension(ExtensionApp):
    """Remote machines inside Jupyter. Also a server of its own: `jupyter rmx serve`."""

    name = "jupyter_rmx"
    app_name = "Remote machines"
    extension_url = "/"
    load_other_extensions = False
    description = "Serves the machines of this user where there is no Jupyter server."

    alias_domain = Unicode(
        "localhost", config=True, help="Domain below which the ports of machines get host names of their own."
    )
    default_provider = Unicode(
        config=True,
        help="Provider of machines for which none is named (JUPYTER_RMX_DEFAULT_PROVIDER, else local).",
    )
    local_orphan_after_s = Float(
        8 * 3600.0,
        min=60.0,
        config=True,
        help="Seconds after the last Jupyter of this user at which an embedded machine ends itself.",
    )
    upload_max_bytes = Int(
        16 * 1024**3, min=1, config=True, help="Largest file that an upload accepts, in bytes."
    )

    spool_max_bytes = Int(
        64 * 1024**2,
        min=0,
        config=True,
        help="Output of one command that waits on disk for a slow reader, in bytes; beyond it the command waits.",
    )

    database_url = Unicode(
        config=True,
        help="SQLAlchemy URL of the store (JUPYTER_RMX_DATABASE_URL); without one, SQLite in the data directory.",
    )
    max_active_owner = Int(
        50,
        min=0,
        config=True,
        help="How many machines a user may have that are being made, running or ended.",
    )
    create_enabled = Bool(
        True,
        config=True,
        help="Off: no new machines; those that are there go on (JUPYTER_RMX_CREATE_ENABLED).",
    )
    images = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="Image by provider, for requests that name none (JUPYTER_RMX_<PROVIDER>_IMAGE).",
    )
    allowed_images = List(
        Unicode(), config=True, help="If not empty, the only images that new machines may have."
    )
    allowed_providers = List(
        Unicode(), config=True, help="If not empty, the only providers that new machines may come from."
    )
    host_keys = Enum(
        ["accept-new", "strict"],
        allow_none=True,
        default_value=None,
        config=True,
        help="SSH hosts whose key is not known yet: accept-new keeps the key, strict refuses"
        " (JUPYTER_RMX_HOST_KEYS, else accept-new). A changed key is always refused.",
    )

    @default("open_browser")
    def _default_open_browser(self) -> bool:
        return False

    def initialize_settings(self) -> None:
        """Offer the service to our handlers; it is built when it is first asked for."""
        self._key = secrets.token_urlsafe(32)
        self._manager: MachineManager | None = None
        self._alias: AliasRoute | None = None
        self._warming: asyncio.Task[None] | None = None
        self._connection_file: Path | None = None
        self._tickets = Tickets(SystemClock())
        self._terminals = Terminals(TerminalMachines(self.manager), SystemClock())
        settings = self._rmx_settings()
        self.settings.update(
            rmx_service=self.manager,
            rmx_terminals=self._terminals,
            rmx_key=self._key,
            rmx_key_identity=key_identity(settings.owner),
            rmx_touch=self._touch,
        )
        # Kernels inherit it; the file is written once the port is known, long before a kernel can start.
        os.environ[VARIABLE] = str(runtime_dir() / f"rmx-{os.getpid()}.json")

    def initialize_handlers(self) -> None:
        """Add the REST routes, and the alias origin in front of all routes."""
        from jupyter_rmx.server import alias

        self.handlers.extend(handlers(self.serverapp.base_url, providers=self._providers()))
        self._alias = alias.install(
            self.serverapp.web_app,
            alias_domain=self.alias_domain,
            directory=LazyDirectory(self.manager),
            tickets=self._tickets,
            on_activity=self._touch,
        )

    def _rmx_settings(self) -> Settings:
        """The environment's settings, with what is configured here in front of them."""
        base = settings_from_environment()
        return replace(
            base,
            alias_domain=self.alias_domain,
            default_provider=self.default_provider or base.default_provider,
            database_url=self.database_url or base.database_url,
            orphan_after_s=self.local_orphan_after_s,
            upload_max_bytes=self.upload_max_bytes,
            spool_max_bytes=self.spool_max_bytes,
            max_active_owner=self.max_active_owner,
            create_enabled=self.create_enabled and base.create_enabled,
            images=base.images | {name.replace("-", "_"): image for name, image in self.images.items()},
            allowed_images=frozenset(self.allowed_images) or base.allowed_images,
            allowed_providers=frozenset(self.allowed_providers) or base.allowed_providers,
            host_keys=self.host_keys or base.host_keys,
        )

    def _providers(self) -> Sequence[str]:
        """Those that new machines may come from, for the document."""
        from jupyter_rmx.providers.registry import ProviderRegistry

        settings = self._rmx_settings()
        names = ProviderRegistry(settings).names()
        return [name for name in names if name in (settings.allowed_providers or names)]

    def manager(self) -> MachineManager:
        """The service of this process."""
        if self._manager is None:
            from jupyter_rmx.bootstrap import build_manager

            self._manager = build_manager(self._rmx_settings(), origin=self._origin(), tickets=self._tickets)
            self._manager.on_destroyed = self._close_machine
        return self._manager

    async def _close_machine(self, machine_id: str) -> None:
        """A machine is being ended: its tabs are told before its connection goes."""
        await self._terminals.close_machine(machine_id)
        if self._alias is not None:
            await self._alias.close_machine(machine_id)

    def _server_url(self) -> SplitResult:
        """Where this computer reaches the server: loopback, unless it listens on one other address only."""
        app = self.serverapp
        return urlsplit(app.local_url if app.ip in REACHED_BY_LOOPBACK else app.connection_url)

    def _origin(self) -> str:
        parts = self._server_url()
        host = "localhost" if parts.hostname in {"127.0.0.1", "::1"} else parts.hostname
        return f"{parts.scheme}://{host}:{parts.port}" if parts.port else f"{parts.scheme}://{host}"

    def _touch(self) -> None:
        self.serverapp.web_app.settings["rmx_last_activity"] = datetime.now(timezone.utc)

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Tell kernels where we are; the rest waits until Jupyter has answered its first requests."""
        if serverapp.sock:
            self.log.warning(
                "jupyter_rmx: kernels cannot use machines here; Jupyter must listen on a port for that."
            )
        else:
            self._write_connection(serverapp)
        self._warming = asyncio.ensure_future(self._warm_up())

    def _write_connection(self, serverapp: Any) -> None:
        parts = self._server_url()
        url = f"{parts.scheme}://{parts.netloc}{serverapp.base_url}"
        connection = Connection(url, self._key, os.getpid(), __version__, serverapp.certfile or None)
        try:
            self._connection_file = write_connection(connection)
        except OSError as error:
            self.log.error("jupyter_rmx: kernels will not find this server: %s", error)

    async def _warm_up(self) -> None:
        """Import the heavy libraries in a thread and open the store, so that the first request need not."""
        await asyncio.sleep(WARM_UP_AFTER_S)
        for module in ("jupyter_rmx.bootstrap", "jupyter_rmx.transports.ssh"):
            await asyncio.to_thread(importlib.import_module, module)
        try:
            await self.manager().ready()
        except RmxError as error:
            # Each request will say so as well; here it is for whoever reads the log.
            self.log.warning("jupyter_rmx: %s", error)

    async def stop_extension(self) -> None:
        """Let go of all connections; machines go on."""
        if self._connection_file is not None:
            self._connection_file.unlink(missing_ok=True)
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self._terminals.aclose()
        if self._alias is not None:
            await self._alias.aclose()
        if self._manager is not None:
            await self._manager.aclose()


def serve(argv: list[str] | None = None) -> None:
    """`jupyter rmx serve`: this extension as a server of its own, on loopback, on a free port, with a token."""
    # Before the user's own words, so that these win. Root is fine here: it is loopback only, behind a token.
    RmxExtension.launch_instance([*SERVE_OPTIONS, *(argv or [])])
