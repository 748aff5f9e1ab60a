"""What the user configured, read once, as one value."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from metaflow import metaflow_config

# Queues lie below the datastore's root; the VM finds them by the path that follows it.
QUEUES = "gha-queues"

# The minor version of Python that launches, and so that of the VMs and their steps.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# Taken from the VM's own environment by name; the job never holds a value.
SECRETS: tuple[str, ...] = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "METAFLOW_SERVICE_AUTH_KEY",
)


@dataclass(frozen=True)
class Settings:
    """The METAFLOW_GHA_* variables and the Metaflow settings they rest on, as they are: not yet checked."""

    datastore_root: str | None
    endpoint: str | None
    user_repo: str | None
    worker_repo: str
    worker_workflow: str
    worker_ref: str
    caller_workflow: str
    dispatch_ref: str
    sync_secrets: str = "auto"
    datastore: str = "s3"
    metadata: str = "local"
    service_url: str | None = None

    @classmethod
    def load(cls) -> Settings:
        """Read Metaflow's configuration: environment first, then its configuration files."""
        return cls(
            datastore_root=metaflow_config.DATASTORE_SYSROOT_S3,
            endpoint=os.environ.get("AWS_ENDPOINT_URL_S3")
            or metaflow_config.S3_ENDPOINT_URL
            or os.environ.get("AWS_ENDPOINT_URL"),
            user_repo=metaflow_config.GHA_USER_REPO or None,
            worker_repo=metaflow_config.GHA_WORKER_REPO,
            worker_workflow=metaflow_config.GHA_WORKER_WORKFLOW,
            worker_ref=metaflow_config.GHA_WORKER_REF,
            caller_workflow=metaflow_config.GHA_CALLER_WORKFLOW,
            dispatch_ref=metaflow_config.GHA_DISPATCH_REF,
            sync_secrets=metaflow_config.GHA_SYNC_SECRETS,
            datastore=metaflow_config.DEFAULT_DATASTORE,
            metadata=metaflow_config.DEFAULT_METADATA,
            service_url=metaflow_config.SERVICE_URL,
        )

    def s3_client(self) -> Any:
        """A client for the queue. The endpoint stays in it: the user's own steps may talk to another S3."""
        from gha_queue import s3_client

        return s3_client(self.endpoint)
