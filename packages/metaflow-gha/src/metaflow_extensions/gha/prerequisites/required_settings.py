"""What a run on GitHub needs of the user's settings: a datastore on S3, addresses that are some."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from metaflow import metaflow_config

from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.prerequisites.addresses import Runners, host_of, obstacle
from metaflow_extensions.gha.prerequisites.repository_values import ENDPOINT, ROOT

if TYPE_CHECKING:
    from metaflow_extensions.gha.settings import Settings

ROOT_EXAMPLE = "s3://BUCKET/metaflow"
SERVICE = "METAFLOW_SERVICE_URL"

S3_ROOT = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[!-~]*)?")


def require_s3(datastore: str) -> None:
    """The kind of datastore, as Metaflow names it, must be s3; raises UnmetError."""
    if datastore != "s3":
        raise UnmetError(
            f"@gha needs the S3 datastore, and this is the {datastore} one.",
            "export METAFLOW_DEFAULT_DATASTORE=s3",
        )


def require_root(settings: Settings) -> str:
    """The datastore's root without a trailing slash; raises UnmetError."""
    root = (settings.datastore_root or "").rstrip("/")
    export = f"export {ROOT}={ROOT_EXAMPLE}"
    if not root:
        raise UnmetError(
            f"{ROOT} is not set; @gha keeps its queue in the datastore's bucket.", export
        )
    if not S3_ROOT.fullmatch(root):
        raise UnmetError(
            f"{ROOT}={root} is no place in S3: it begins with s3:// and a bucket.", export
        )
    return root


def require_endpoint(settings: Settings) -> str | None:
    """The address of the store, None for AWS's own; raises UnmetError."""
    queue, flow = os.environ.get(ENDPOINT), metaflow_config.S3_ENDPOINT_URL
    if queue and flow and queue.rstrip("/") != flow.rstrip("/"):
        raise UnmetError(
            f"{ENDPOINT}={queue} and METAFLOW_S3_ENDPOINT_URL={flow} name two stores, and a run has one.",
            "unset METAFLOW_S3_ENDPOINT_URL",
        )
    if settings.endpoint:
        host_of(settings.endpoint, ENDPOINT if queue else "METAFLOW_S3_ENDPOINT_URL")
    return settings.endpoint


def require_service(settings: Settings, runners: Runners) -> str:
    """The address of the metadata service, which the steps on the VMs use as it is here; raises UnmetError."""
    url = settings.service_url
    if not url:
        raise UnmetError(
            f"The metadata is that of a service, and {SERVICE} is not set.",
            f"export {SERVICE}=https://HOST",
            "# or: export METAFLOW_DEFAULT_METADATA=local",
        )
    trouble = obstacle(host_of(url, SERVICE), runners)
    if trouble:
        raise UnmetError(
            f"No VM of GitHub can reach the metadata service at {url}: {trouble}.",
            f"export {SERVICE}=https://HOST",
            "# or: export METAFLOW_DEFAULT_METADATA=local",
        )
    return url
