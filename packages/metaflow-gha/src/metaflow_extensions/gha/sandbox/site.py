"""The place where a command meets GitHub Actions on one machine: an S3 server, a stand-in of GitHub, runners.

The S3 server speaks HTTP, the real `gh` talks to the stand-in, and the real `act` executes the workflows: all that is
missing is the VM. Every token is invented, every server listens on this machine only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow.util import get_username

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.inject.caller import (
    WORKER_DIRECTORY,
    WORKFLOWS,
    CallerOptions,
    caller_path,
    read_stamp,
)
from metaflow_extensions.gha.inject.inject import files, write_files
from metaflow_extensions.gha.inject.worker_bundle import worker_sources, worker_workflow
from metaflow_extensions.gha.sandbox.image import runner_image
from metaflow_extensions.gha.sandbox.working_copy import WorkingCopy
from metaflow_extensions.gha.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gha_dispatch.testing import GitHubStandIn
    from gha_queue.testing import S3Server

BUCKET = "sandbox"
OWNER = "sandbox"

# Metaflow's settings that do not lead out of the sandbox and so are the user's to choose.
HARMLESS = ("METAFLOW_DEBUG_", "METAFLOW_USER", "METAFLOW_RUN_")

# What would lead the command out of the sandbox: the user's Metaflow, and a caller's own git.
LEADS_OUT = ("METAFLOW_", "GIT_")


@dataclass(frozen=True)
class Folders:
    """What a sandbox keeps on disk, below one root."""

    root: Path

    @property
    def copy(self) -> Path:
        """The copy of the project, where the command runs."""
        return self.root / "repository"

    @property
    def hosted(self) -> Path:
        """What GitHub has of the copy, a bare repository: where `git push` in the copy goes."""
        return self.root / "github.git"

    @property
    def logs(self) -> Path:
        """`s3.log`, and `runs/<id>.log` as GitHub would show it."""
        return self.root / "logs"

    @property
    def bucket(self) -> Path:
        """The bucket's objects; a bucket that is not kept lives in memory."""
        return self.root / "s3"

    @property
    def metadata(self) -> Path:
        """Metaflow's own record of the runs."""
        return self.root / "metaflow"


@dataclass(frozen=True)
class Site:
    """A sandbox that is up: what a command needs to run in it, and what it can be asked."""

    repository: str
    directory: Path
    environment: Mapping[str, str]
    s3: S3Server
    github: GitHubStandIn
    workflow_written: bool


@contextlib.contextmanager
def open_site(project: Path, folders: Folders, *, keep_bucket: bool) -> Iterator[Site]:
    """Copy `project` and start everything; on the way out every process is stopped.

    Raises
    ------
    GhaException
        what is missing on this machine, in one sentence
    """
    try:
        from gha_dispatch.testing import GitHubStandIn, StandInConfig
        from gha_queue.testing import S3Server
    except ImportError:
        raise GhaException(
            "The sandbox needs its own extra: pip install 'metaflow-gha[sandbox]'."
        ) from None

    for folder in (folders.logs, folders.metadata, *([folders.bucket] if keep_bucket else [])):
        folder.mkdir(parents=True, exist_ok=True)
    settings = Settings.load()
    copy, workflow_written = _copy(project, folders, settings)
    repository = f"{OWNER}/{_slug(project)}"
    shutil.rmtree(folders.hosted, ignore_errors=True)
    copy.publish(f"https://github.localhost/{repository}.git", folders.hosted)
    with contextlib.ExitStack() as stack:
        try:
            s3 = stack.enter_context(
                S3Server(
                    data_dir=folders.bucket if keep_bucket else None,
                    log_file=folders.logs / "s3.log",
                )
            )
            s3.create_bucket(BUCKET)
            _open_to_roles(s3)
            links = stack.enter_context(tempfile.TemporaryDirectory(prefix="gha-image-"))
            worker = stack.enter_context(tempfile.TemporaryDirectory(prefix="gha-worker-"))
            _write_worker(Path(worker), settings)
            variables = {
                "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{BUCKET}/metaflow",
                "AWS_ENDPOINT_URL_S3": s3.endpoint,
                "AWS_REGION": s3.environment["AWS_REGION"],
                # The same server gives roles to whoever asks.
                "AWS_ENDPOINT_URL_STS": s3.endpoint,
            }
            keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            github = stack.enter_context(
                GitHubStandIn(
                    StandInConfig(
                        name=repository,
                        directory=folders.hosted,
                        image=runner_image(Path(links)),
                        secrets={name: s3.environment[name] for name in keys},
                        variables=variables,
                        actions={settings.worker_repo: Path(worker)},
                        labels=_labels(copy, settings),
                        max_jobs=max(2, os.cpu_count() or 2),
                        state=folders.logs,
                    )
                )
            )
        except (RuntimeError, FileNotFoundError) as error:
            raise GhaException(str(error)) from None
        datastore = variables["METAFLOW_DATASTORE_SYSROOT_S3"]
        environment = _environment(s3, github, folders, settings, datastore)
        yield Site(repository, copy.directory, environment, s3, github, workflow_written)


def _copy(project: Path, folders: Folders, settings: Settings) -> tuple[WorkingCopy, bool]:
    """Copy the project as it stands, with a caller workflow; whether that one had to be written."""
    shutil.rmtree(folders.copy, ignore_errors=True)
    copy = WorkingCopy.make(project, folders.copy, leave_out=folders.root)
    if (copy.root / caller_path(settings)).is_file():
        return copy, False
    write_files(copy.root, files(CallerOptions(), settings))
    return copy, True


def _open_to_roles(s3: S3Server) -> None:
    """Let every account use the bucket, for a role is of its own account, whichever the workflow names."""
    bucket = f"arn:aws:s3:::{BUCKET}"
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket, f"{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    request = urllib.request.Request(  # noqa: S310  # our own server
        f"{s3.endpoint}/{BUCKET}?policy", data=policy.encode(), method="PUT"
    )
    # Not by way of a proxy that the user's environment names.
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


def _labels(copy: WorkingCopy, settings: Settings) -> tuple[str, ...]:
    """The labels that the copy's workflow asks of its runners: the machine here has them all."""
    stamp = read_stamp((copy.root / caller_path(settings)).read_text("utf-8"))
    return stamp.options.runs_on if stamp else ()


def _write_worker(root: Path, settings: Settings) -> None:
    """Make `root` the worker's repository: this very version, from a checkout or from wheels."""
    write_files(root, worker_sources(WORKER_DIRECTORY))
    write_files(root, {f"{WORKFLOWS}/{settings.worker_workflow}": worker_workflow()})
    WorkingCopy(root, root).commit(settings.worker_ref)


def _environment(
    s3: S3Server, github: GitHubStandIn, folders: Folders, settings: Settings, datastore: str
) -> dict[str, str]:
    """The command's environment: nothing of the user's accounts, everything of the sandbox."""
    users = {
        name: value
        for name, value in s3.environ().items()
        if (not name.startswith(LEADS_OUT) or name.startswith(HARMLESS))
        and name not in github.cleared
    }
    return {
        **users,
        **github.environment,
        # As the copy's workflow was written, wherever the user configured it.
        "METAFLOW_GHA_WORKER_REPO": settings.worker_repo,
        "METAFLOW_GHA_WORKER_WORKFLOW": settings.worker_workflow,
        "METAFLOW_GHA_WORKER_REF": settings.worker_ref,
        "METAFLOW_GHA_CALLER_WORKFLOW": settings.caller_workflow,
        "METAFLOW_DATASTORE_SYSROOT_S3": datastore,
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DEFAULT_METADATA": "local",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folders.metadata),
        # No configuration file of the user's, which may name a real bucket or service.
        "METAFLOW_HOME": str(folders.root / "no-configuration"),
        "METAFLOW_CLIENT_CACHE_PATH": str(folders.root / "client-cache"),
        # Metaflow refuses a run without a user's name, as in a container.
        "METAFLOW_USER": get_username() or "sandbox",
        # Its default of 64 processes per transfer is made for a far-away S3.
        "METAFLOW_S3_WORKER_COUNT": "4",
        # `python` means the one that has this package, activated or not.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), users.get("PATH", os.defpath)]),
    }


def _slug(directory: Path) -> str:
    """The folder's name as a repository name."""
    letters = (c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in directory.name)
    return "".join(letters).strip("._-") or "project"
