"""Directories that are prepared once and used by every job that names their key."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gha_worker._guard import remove_tree

if TYPE_CHECKING:
    from pathlib import Path


class PreparedDirectories:
    """One directory per key below `root`. A marker file beside it says that it is complete."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, key: str) -> Path:
        """Where the directory of `key` is, or would be."""
        return self._root / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def ready(self, key: str) -> bool:
        """Whether the preparation of `key` has succeeded here."""
        return self._marker(key).exists()

    def begin(self, key: str) -> Path:
        """An empty directory for `key`; what a failed preparation left is gone."""
        path = self.path(key)
        remove_tree(str(path))
        path.mkdir(mode=0o700, parents=True)
        return path

    def commit(self, key: str) -> None:
        """Remember that the preparation of `key` has succeeded."""
        self._marker(key).touch(mode=0o600)

    def _marker(self, key: str) -> Path:
        return self.path(key).with_suffix(".ready")
