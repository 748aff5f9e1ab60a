"""What a worker tells the queue's registry about itself and its machine."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import socket
from typing import TYPE_CHECKING, Any

from gha_worker._environment import run_url

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNUSABLE = re.compile(r"[^A-Za-z0-9._-]+")


def default_name() -> str:
    """A name that no other live worker has: this host and this process."""
    host = _UNUSABLE.sub("-", socket.gethostname()).strip("-.") or "worker"
    return f"{host}-{os.getpid()}"


def worker_info(environment: Mapping[str, str]) -> dict[str, Any]:
    """The machine and, in GitHub Actions, the page of its workflow run; plain JSON."""
    return {
        "run_url": run_url(environment),
        "runner": environment.get("RUNNER_NAME"),
        "cpus": _cpus(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "python": platform.python_version(),
        "started": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
    }


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
