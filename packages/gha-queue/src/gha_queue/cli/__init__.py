"""The command line of a queue: `gha-queue COMMAND`."""

from __future__ import annotations

from gha_queue.cli._app import app, main

__all__ = ["app", "main"]
