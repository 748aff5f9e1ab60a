"""Which variables a job sees: an allowlist, never the worker's environment less some names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from gha_worker._jobs.command_job import CommandJob

_ALLOWED = frozenset(
    {
        # The machine and its user.
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
        # The interpreters of GitHub's tool cache are linked to a shared library they find by this.
        "LD_LIBRARY_PATH",
        # The workflow run: what it is, not what it may do.
        *("CI", "RUNNER_OS", "RUNNER_ARCH", "RUNNER_NAME", "RUNNER_ENVIRONMENT"),
        *("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"),
        # Certificates and proxies of the network the worker is in.
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        # Where the store is and how to speak to it. Who speaks is a secret, which a job names, or a
        # role: its token lies in a file that every process of this user can read anyway.
        *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"),
        *("AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"),
        "AWS_EC2_METADATA_DISABLED",
    }
)
# What libraries of linear algebra start by themselves: a thread for each core of the machine, in
# each of the jobs that share it.
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_ALLOWED_PREFIX = re.compile(r"(LC|UV|PIP)_.+")
_CREDENTIAL = re.compile(r".*_(TOKEN|PASSWORD|USERNAME)")


@dataclass(frozen=True)
class Place:
    """Where and as what a job runs; its environment tells it so as ``GHA_WORKER_*``."""

    job: str
    attempt: int
    worker: str
    slot: int
    cores: float
    memory_mb: int
    directory: str
    temporary: str
    run_url: str | None = None
    prepared: str | None = None
    template: str | None = None

    def variables(self) -> dict[str, str]:
        variables = {
            "TMPDIR": self.temporary,
            "GHA_WORKER_JOB": self.job,
            "GHA_WORKER_ATTEMPT": str(self.attempt),
            "GHA_WORKER_NAME": self.worker,
            "GHA_WORKER_SLOT": str(self.slot),
            "GHA_WORKER_CORES": f"{self.cores:g}",
            "GHA_WORKER_MEMORY_MB": str(self.memory_mb),
            "GHA_WORKER_DIR": self.directory,
        }
        if self.run_url is not None:
            variables["GHA_WORKER_RUN_URL"] = self.run_url
        if self.prepared is not None:
            variables["GHA_WORKER_PREPARED"] = self.prepared
        if self.template is not None:
            variables["GHA_WORKER_TEMPLATE"] = self.template
        return variables

    def defaults(self) -> dict[str, str]:
        """What a job may set otherwise: as many threads as it has cores, one at least."""
        return dict.fromkeys(_THREADS, str(max(1, int(self.cores))))


def secret_values(job: CommandJob, worker: Mapping[str, str]) -> dict[str, str]:
    """The secrets that `job` names and `worker` has; absent and empty ones are left out."""
    return {name: worker[name] for name in job.secrets if worker.get(name)}


def own_secrets(worker: Mapping[str, str]) -> list[str]:
    """The values by which the worker itself opens its store."""
    names = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return [worker[name] for name in names if worker.get(name)]


def job_environment(job: CommandJob, worker: Mapping[str, str], place: Place) -> dict[str, str]:
    """Everything a job sees: allowed names of `worker`, then its own, its secrets, its place."""
    return {
        **shared_environment(worker),
        **place.defaults(),
        **job.env,
        **secret_values(job, worker),
        **place.variables(),
    }


def shared_environment(worker: Mapping[str, str]) -> dict[str, str]:
    """The allowed names of `worker`: what is the same for every job."""
    return {name: value for name, value in worker.items() if _allowed(name)}


def drop_empty_aws(environment: MutableMapping[str, str]) -> None:
    """Forget ``AWS_*`` variables without a value.

    A workflow sets a variable also when its secret does not exist; botocore then signs with an
    empty session token or calls an empty endpoint.
    """
    for name in [name for name in environment if name.startswith("AWS_")]:
        if not environment[name].strip():
            del environment[name]


def run_url(environment: Mapping[str, str]) -> str | None:
    """The page of the workflow run that this process is part of, None outside GitHub Actions."""
    server = environment.get("GITHUB_SERVER_URL")
    repository = environment.get("GITHUB_REPOSITORY")
    run = environment.get("GITHUB_RUN_ID")
    if not (server and repository and run):
        return None
    return f"{server}/{repository}/actions/runs/{run}"


def _allowed(name: str) -> bool:
    if name in _ALLOWED:
        return True
    return bool(_ALLOWED_PREFIX.fullmatch(name)) and not _CREDENTIAL.fullmatch(name)
