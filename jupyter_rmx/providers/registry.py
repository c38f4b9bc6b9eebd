"""Finds providers by the entry point group `jupyter_rmx.providers`; nothing is imported before it is asked for."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from jupyter_rmx.errors import ProviderError, UsageError
from jupyter_rmx.providers.base import VMProvider
from jupyter_rmx.settings import Settings

GROUP = "jupyter_rmx.providers"


class Providers(Protocol):
    """Where providers are found by name."""

    def get(self, name: str) -> VMProvider:
        """The provider of that name; UsageError `vm_invalid_provider` if there is none."""
        ...


class ProviderRegistry:
    """The installed providers, each built once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._built: dict[str, VMProvider] = {}

    def names(self) -> list[str]:
        """Names of all installed providers."""
        return sorted({point.name for point in entry_points(group=GROUP)})

    def get(self, name: str) -> VMProvider:
        """The provider of that name; UsageError `vm_invalid_provider` if none is installed."""
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> VMProvider:
        found = [point for point in entry_points(group=GROUP) if point.name == name]
        if not found:
            raise UsageError(
                f"There is no provider {name[:40]!r}.",
                hint=f"Installed are: {', '.join(self.names()) or 'none'}.",
                code="vm_invalid_provider",
                details={"field": "provider"},
            )
        try:
            factory = found[0].load()
        except ImportError as error:
            raise ProviderError(
                f"Provider {name!r} cannot be loaded: {error}.",
                hint="Reinstall the package that brings it.",
                code="vm_provider_broken",
            ) from error
        provider: VMProvider = factory(self._settings)
        return provider

    def built(self) -> list[VMProvider]:
        """The providers that were used so far."""
        return list(self._built.values())

    async def aclose(self) -> None:
        """Let go of all providers."""
        for provider in self._built.values():
            await provider.aclose()
        self._built.clear()
