"""What a worker tells the queue's registry about itself and its machine."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import socket
from typing import TYPE_CHECKING, Any

from gha_worker._machine.environment import run_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_worker._machine.capacity import Capacity

_UNUSABLE = re.compile(r"[^A-Za-z0-9._-]+")


def default_name() -> str:
    """A name that no other live worker has: this host and this process."""
    host = _UNUSABLE.sub("-", socket.gethostname()).strip("-.") or "worker"
    return f"{host}-{os.getpid()}"


def worker_info(environment: Mapping[str, str], capacity: Capacity) -> dict[str, Any]:
    """What jobs may have here and, in GitHub Actions, the page of the workflow run; plain JSON."""
    return {
        "run_url": run_url(environment),
        "runner": environment.get("RUNNER_NAME"),
        "cores": capacity.millicores / 1000,
        "memory_mb": capacity.memory_mb,
        "python": platform.python_version(),
        "started": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
    }
