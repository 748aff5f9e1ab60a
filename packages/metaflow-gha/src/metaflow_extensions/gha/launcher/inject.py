"""The caller workflow: the file in the user's repository that starts VMs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.checkout import checkout_root
from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.launcher.job import SECRETS
from metaflow_extensions.gha.launcher.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLER = """\
# Starts the VMs of Metaflow runs: one dispatch is one wave of VMs. Written by `python flow.py gha
# inject`. The reusable worker stands here as a literal, so that no input of a dispatch can choose
# code.
name: metaflow-gha
run-name: ${{{{ inputs.title }}}} (${{{{ inputs.wave }}}})

on:
  workflow_dispatch:
    inputs:
      title:
        description: The run, as people know it.
        type: string
        required: true
      queue:
        description: The run's queue, a path below METAFLOW_DATASTORE_SYSROOT_S3.
        type: string
        required: true
      wave:
        description: The id of this dispatch.
        type: string
        required: true
      vms:
        description: The numbers of the VMs to start, a JSON list of strings.
        type: string
        required: true

permissions:
  contents: read

jobs:
  worker:
    name: ${{{{ inputs.wave }}}}
    strategy:
      fail-fast: false
      max-parallel: 256
      matrix:
        vm: ${{{{ fromJSON(inputs.vms) }}}}
    uses: {uses}
    with:
      worker-repository: "{repo}"
      worker-ref: "{ref}"
      queue: ${{{{ inputs.queue }}}}
      wave: ${{{{ inputs.wave }}}}
      vm: ${{{{ matrix.vm }}}}
    secrets:
{secrets}
"""

NAME = re.compile(r"[A-Za-z0-9_./-]+")


def caller_workflow(settings: Settings) -> str:
    """The text of the workflow for these settings; a pure function of them."""
    for value in (settings.worker_repo, settings.worker_workflow, settings.worker_ref):
        if not NAME.fullmatch(value):
            raise GhaException(
                f"{value!r} is no name of a repository, workflow or ref: correct METAFLOW_GHA_WORKER_REPO, "
                "_WORKER_WORKFLOW or _WORKER_REF."
            )
    return CALLER.format(
        uses=_uses(settings),
        repo=settings.worker_repo,
        ref=settings.worker_ref,
        secrets="\n".join(f"      {name}: ${{{{ secrets.{name} }}}}" for name in SECRETS),
    )


def _uses(settings: Settings) -> str:
    return (
        f"{settings.worker_repo}/.github/workflows/{settings.worker_workflow}@{settings.worker_ref}"
    )


def workflow_path(settings: Settings) -> Path:
    """Where the workflow lies in this checkout."""
    return repository_root() / ".github" / "workflows" / settings.caller_workflow


def repository_root() -> Path:
    """The top of the checkout around the current directory."""
    root = checkout_root(Path.cwd())
    if root is None:
        raise GhaException(
            f"{Path.cwd()} is not in a git repository: install git if need be, run `git init`, "
            "or change into the checkout that you push to GitHub."
        )
    return root


def inject() -> Iterator[str]:
    """Write the workflow and tell what to do next."""
    settings = Settings.load()
    path = workflow_path(settings)
    text = caller_workflow(settings)
    shown = path.relative_to(repository_root())
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        yield f"{shown} is up to date."
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    yield f"Wrote {shown}: its VMs run {_uses(settings)}."
    yield f"Next: git add {shown} && git commit -m 'Run Metaflow steps on GitHub Actions' && git push"


def check_literals(settings: Settings) -> None:
    """The checkout's workflow must start the worker that this run is configured for.

    A checkout without the file says nothing: GitHub is asked for the real one.
    """
    try:
        path = workflow_path(settings)
    except GhaException:
        return
    if not path.is_file():
        return
    found = re.search(r"^\s+uses:\s*(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found and found.group(1) != _uses(settings):
        raise GhaException(
            f"{path.name} starts {found.group(1)}, but METAFLOW_GHA_WORKER_REPO, _WORKFLOW and "
            f"_REF name {_uses(settings)}: run `python flow.py gha inject` again, commit and push."
        )
