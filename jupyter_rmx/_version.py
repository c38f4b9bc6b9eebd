"""The one version; labextension/package.json says the same, held by a test."""

__version__ = "0.1.0"
