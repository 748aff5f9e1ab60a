"""The command line: `gha-dispatch COMMAND`."""

from __future__ import annotations

from gha_dispatch.cli._app import app, main

__all__ = ["app", "main"]
