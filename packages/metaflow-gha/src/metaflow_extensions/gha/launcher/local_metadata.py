"""Local metadata goes to the VM and back: without a metadata service the run's files are the only record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow.metadata_provider import MetaDatum
from metaflow.metadata_provider.util import sync_local_metadata_from_datastore
from metaflow.metaflow_config import DATASTORE_LOCAL_DIR
from metaflow.plugins.datastores.local_storage import LocalStorage

if TYPE_CHECKING:
    from metaflow_extensions.gha.launcher.job import Task


def files_for_vm(task: Task) -> dict[str, str]:
    """The `_self.json` of flow, run, step and task, by the path that they have on the VM."""
    root = LocalStorage.get_datastore_root_from_config(lambda *_, **__: None)
    files = {}
    parts = [task.flow, task.run_id, task.step, task.task_id]
    for depth in range(1, len(parts) + 1):
        relative = Path(*parts[:depth], LocalStorage.METADATA_DIR, "_self.json")
        path = Path(root, relative)
        if path.is_file():
            files[str(Path(DATASTORE_LOCAL_DIR, relative))] = path.read_text(encoding="utf-8")
    return files


def bring_back(obj: Any, task: Task) -> None:
    """Copy what the VM recorded of this try into the local metadata.

    A try that died on its VM has sent nothing: then the launcher records the least that the client needs to find
    the try and its logs.
    """
    try:
        datastore = obj.flow_datastore.get_task_datastore(
            task.run_id, task.step, task.task_id, attempt=task.attempt
        )
        sync_local_metadata_from_datastore(DATASTORE_LOCAL_DIR, datastore)
    except Exception:  # noqa: BLE001  # Metaflow raises bare exceptions here; none may hide the task's own error
        facts = {
            "attempt": str(task.attempt),
            "ds-type": obj.flow_datastore.TYPE,
            "ds-root": obj.flow_datastore.datastore_root,
        }
        tags = [f"attempt_id:{task.attempt}"]
        obj.metadata.register_metadata(
            task.run_id,
            task.step,
            task.task_id,
            [
                MetaDatum(field=name, value=value, type=name, tags=tags)
                for name, value in facts.items()
            ],
        )
