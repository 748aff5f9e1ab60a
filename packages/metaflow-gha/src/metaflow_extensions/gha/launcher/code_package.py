"""The code package of a run, uploaded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CodePackage:
    """Where the run's code package lies and how to open it."""

    metadata: str
    sha: str
    url: str

    @classmethod
    def upload(cls, package: Any, flow_datastore: Any) -> CodePackage:
        """Save the package in the datastore; its content is its address, so a second upload finds it there."""
        url, sha = flow_datastore.save_data([package.blob], len_hint=1)[0]
        return cls(package.package_metadata, sha, url)
