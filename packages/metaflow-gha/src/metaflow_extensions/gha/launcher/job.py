"""One Metaflow task as a command job: its scripts and its environment, as plain text. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaflow.package import MetaflowPackage

from metaflow_extensions.gha.vm import ON_VM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metaflow_extensions.gha.launcher.code_package import CodePackage

# Metaflow reaches its datastore with these, whatever the user's own code needs.
DATASTORE_PACKAGES = ("boto3", "requests")

# What the VM's step needs of the launcher's configuration. Never the headers of the metadata
# service, which hold a key, nor DATASTORE_SYSROOT_LOCAL, which would break the way back of local
# metadata.
FORWARDED = re.compile(
    r"METAFLOW_(CONDA_\w+|DEBUG_\w+|S3_\w+|GHA_\w+|DATASTORE_SYSROOT_S3|DATATOOLS_S3ROOT|DATATOOLS_CLIENT_PARAMS|CARD_\w+|SERVICE_URL|"
    r"SERVICE_INTERNAL_URL|DEFAULT_METADATA|DEFAULT_SECRETS_BACKEND_TYPE|"
    r"AWS_SECRETS_MANAGER_DEFAULT_REGION|OTEL_\w+|TEMPDIR|USER)"
)
NOT_FORWARDED = frozenset(
    {"METAFLOW_S3_ENDPOINT_URL"}
)  # the VM's own variable says how S3 looks from there

# What all tasks of a VM share and only read: the interpreter, and Metaflow as the package brings it.
PREPARED = "$GHA_WORKER_PREPARED"
# What each task gets a copy of, as its own directory: the user's files, beside which a step may write.
TEMPLATE = "$GHA_WORKER_TEMPLATE"
# How a code package calls what is Metaflow's own: its code, what it knows of itself, a marker.
OWN = ".mf_*"


@dataclass(frozen=True)
class Task:
    """Which try of which task: what names it everywhere."""

    flow: str
    run_id: str
    step: str
    task_id: str
    attempt: int

    @property
    def pathspec(self) -> str:
        return f"{self.flow}/{self.run_id}/{self.step}/{self.task_id}"

    @property
    def job_id(self) -> str:
        """The same for the same try, so that a repeated put finds the first one."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", f"{self.step}.{self.task_id}.{self.attempt}")

    @property
    def title(self) -> str:
        return f"{self.pathspec} attempt {self.attempt}"


def step_of(job_id: str) -> str:
    """The step whose task a job is; of a name with letters that no job id has, what became of it there."""
    return job_id.rsplit(".", 2)[0]


def forwarded(config: Mapping[str, str]) -> dict[str, str]:
    """The part of Metaflow's non-default configuration that the VM shall share."""
    return {
        name: value
        for name, value in config.items()
        if FORWARDED.fullmatch(name) and name not in NOT_FORWARDED
    }


def environment(
    task: Task,
    package: CodePackage,
    *,
    config: Mapping[str, str],
    flow_file: str,
    user: str,
    step_variables: Mapping[str, str],
    metadata_files: Mapping[str, str],
    logs: Mapping[str, str],
) -> dict[str, str]:
    """The variables of the job. `step_variables` are the user's own, from @environment, and win.

    `logs` names the place of stdout and of stderr, in this order.
    """
    return {
        **forwarded(config),
        ON_VM: "1",
        "METAFLOW_CODE_METADATA": package.metadata,
        "METAFLOW_CODE_SHA": package.sha,
        "METAFLOW_CODE_URL": package.url,
        "METAFLOW_CODE_DS": "s3",
        "METAFLOW_USER": user,
        "METAFLOW_RUN_ID": task.run_id,
        "METAFLOW_FLOW_FILENAME": flow_file,
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "MF_PATHSPEC": task.pathspec,
        "MF_ATTEMPT": str(task.attempt),
        "MF_DATASTORE": "s3",
        "PYTHONUNBUFFERED": "x",
        "METAFLOW_GHA_METADATA_FILES": json.dumps(dict(metadata_files)),
        "METAFLOW_GHA_LOGS": json.dumps(dict(logs)),
        **{name: str(value) for name, value in step_variables.items()},
    }


def prepare_script(package: CodePackage, python: str) -> str:
    """Once per VM: an interpreter of the launcher's minor version, the code package, the user's requirements."""
    bucket, _, key = package.url.removeprefix("s3://").partition("/")
    download = f"import boto3; boto3.client('s3').download_file({bucket!r}, {key!r}, 'job.tar')"
    extract = MetaflowPackage.get_extract_commands(package.metadata, "job.tar", dest_dir=".")
    interpreter = f'"{PREPARED}/venv/bin/python"'
    return "\n".join(
        [
            "set -euo pipefail",
            "command -v uv >/dev/null || { echo 'This VM has no uv: run gha inject again.'; exit 1; }",
            f'uv venv --quiet --no-project --python {shlex.quote(python)} "{PREPARED}/venv"',
            f"uv pip install --quiet --python {interpreter} {' '.join(DATASTORE_PACKAGES)}",
            f'cd "{TEMPLATE}"',
            f"{interpreter} -c {shlex.quote(download)}",
            *extract,
            "rm -f job.tar",
            # Together: Metaflow looks for one of them beside the other, and links do not hide where that is.
            f'for own in {OWN}; do mv "$own" "{PREPARED}/$own"; ln -s "{PREPARED}/$own" "$own"; done',
            "if [ -f requirements.txt ]; then",
            f"  uv pip install --quiet --python {interpreter} -r requirements.txt",
            "fi",
            "",
        ]
    )


def prepare_key(script: str) -> str:
    """Tasks whose preparation is the same text share it."""
    return hashlib.sha256(script.encode()).hexdigest()[:16]


def run_script(package: CodePackage, bootstrap: Sequence[str], step_command: str) -> str:
    """Each try: the environment's own bootstrap and the step under its log capture, where the user's files are."""
    exports = []
    for name, value in MetaflowPackage.get_post_extract_env_vars(
        package.metadata, dest_dir="$(pwd)"
    ).items():
        if name.endswith(":"):
            exports.append(f'export {name[:-1]}="{value}"')
        else:
            exports.append(f'export {name}="{value}:${{{name}:-}}"')
    # Metaflow's bootstraps call this to show their logs early; here they are shipped while they
    # come.
    flush = "flush_mflogs() { :; }"
    command = "\n".join(["set -e", flush, *bootstrap, step_command])
    return "\n".join(
        [
            "set -euo pipefail",
            f'export PATH="{PREPARED}/venv/bin:$PATH"',
            # Metaflow reads the endpoint from a variable of its own.
            'if [ -n "${AWS_ENDPOINT_URL_S3:-}" ]; then export METAFLOW_S3_ENDPOINT_URL="$AWS_ENDPOINT_URL_S3"; fi',
            *exports,
            f"exec python -m metaflow_extensions.gha.vm.run_step {shlex.quote(command)}",
            "",
        ]
    )
