"""Where the sandbox's VMs install the worker from: the checkout that this package runs from."""

from __future__ import annotations

from pathlib import Path

from metaflow_extensions.gha.errors import GhaException


def worker_source() -> Path:
    """The directory that stands for the worker's repository."""
    import gha_worker

    for folder in Path(gha_worker.__file__).resolve().parents:
        if (folder / "uv.lock").is_file() and (
            folder / ".github" / "workflows" / "worker.yml"
        ).is_file():
            return folder
    raise GhaException(
        "The sandbox installs its workers from a checkout of metaflow-gha: install it from there, `pip install -e`."
    )
