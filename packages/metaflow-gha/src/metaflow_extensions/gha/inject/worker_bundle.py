"""The worker's own files, taken from the installed packages: for a sandbox, and for a repository that stands alone."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from importlib.abc import Traversable

# Each package by the folder of its project, with what a VM has no use for: command lines and tests.
PACKAGES = (
    ("gha-queue", "gha_queue", frozenset({"__main__.py", "cli", "testing"})),
    ("gha-worker", "gha_worker", frozenset({"testing"})),
)
SUFFIXES = (".py", ".txt", ".typed")


def worker_workflow() -> str:
    """The text of the reusable workflow."""
    return (resources.files("gha_worker") / "workflows" / "worker.yml").read_text("utf-8")


def worker_sources(directory: str) -> dict[str, str]:
    """The texts of the packages that a VM runs, by their paths below `directory` of a repository."""
    return {
        f"{directory}/{project}/src/{package}/{path}": file.read_text("utf-8")
        for project, package, left_out in PACKAGES
        for path, file in _files(resources.files(package), left_out)
    }


def _files(folder: Traversable, left_out: Collection[str]) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name in left_out or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            for path, file in _files(entry, ()):
                yield f"{entry.name}/{path}", file
        elif entry.name.endswith(SUFFIXES):
            yield entry.name, entry
