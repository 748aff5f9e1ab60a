"""From a dispatch to a run: its contexts, its environment, and what its jobs run with."""

from __future__ import annotations

import os
import re
import secrets as random
import shutil
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._api.route import API, SERVER
from gha_dispatch.testing._git.mapped import CHECKOUT
from gha_dispatch.testing._hosted import FOLDER
from gha_dispatch.testing._private_file import write_json
from gha_dispatch.testing._runners.claims import claims_of
from gha_dispatch.testing._runners.id_tokens import REQUEST_TOKEN, IdTokens
from gha_dispatch.testing._runners.job import JobSite
from gha_dispatch.testing._runners.run_log import RunLog
from gha_dispatch.testing._runners.runs import JobRecord, RunOrder, RunRecord, Runs
from gha_dispatch.testing._workflows.document import Document, trigger, typed_inputs
from gha_dispatch.testing._workflows.expressions import ExpressionError, as_text, evaluate
from gha_dispatch.testing._workflows.plan import Plan, PlannedJob, StartupFailureError, uses_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gha_dispatch.testing._config import StandInConfig
    from gha_dispatch.testing._git.mapped import Mapped
    from gha_dispatch.testing._hosted import Hosted
    from gha_dispatch.testing._workflows.concurrency import Concurrency


class Dispatcher:
    """Starts runs of the hosted repository. `root` holds what jobs need, `logs` what they wrote."""

    def __init__(
        self,
        config: StandInConfig,
        *,
        hosted: Hosted,
        mapped: Mapped,
        runs: Runs,
        id_tokens: IdTokens | None,
        login: str,
        root: Path,
        logs: Path,
    ) -> None:
        self._config = config
        self._hosted = hosted
        self._mapped = mapped
        self._runs = runs
        self._id_tokens = id_tokens
        self._login = login
        self._root = root
        self._logs = logs
        self._first_id = random.randbelow(10**9) + 10**9

    def dispatch(
        self, file: str, document: Document, ref: str, commit: str, inputs: Mapping[str, str]
    ) -> RunRecord:
        """Start a run of a workflow at a commit, with checked inputs."""
        # read when a run is queued: what is set later is not seen
        secrets = {
            name: value.decode("utf-8", "replace")
            for name, value in self._hosted.job_secrets().items()
        }
        secrets["GITHUB_TOKEN"] = f"ghs_{random.token_hex(20)}"
        number = self._runs.next_number()
        name = as_text(document.get("name") or f"{FOLDER}/{file}")
        run = RunRecord(
            id=self._first_id + number,
            number=number,
            file=file,
            workflow=name,
            title=name,
            actor=self._login,
            ref=ref.split("/", 2)[2],
            sha=commit,
            message=self._hosted.git.describe(commit)[-1],
            log=RunLog(self._logs / f"{self._first_id + number}.log", secrets.values()),
        )
        declared = (trigger(document, "workflow_dispatch") or {}).get("inputs") or {}
        contexts = {
            "inputs": typed_inputs(declared, inputs),
            "vars": self._hosted.job_variables(),
            "github": {**self._github(run, ref), "event": {"inputs": dict(inputs)}},
        }
        try:
            run.title = as_text(evaluate(document.get("run-name") or name, contexts))
        except ExpressionError:
            run.title = name
        self._runs.start(run, self._order(run, document, contexts, secrets))
        return run

    def _order(
        self,
        run: RunRecord,
        document: Document,
        contexts: Mapping[str, Any],
        secrets: Mapping[str, str],
    ) -> RunOrder:
        home = self._root / str(run.number)
        plan = Plan(
            contexts=contexts,
            repository=self._hosted.git.name,
            secrets=frozenset(secrets),
            labels=frozenset(self._config.labels),
            read_called=self._read_called,
            is_mapped=lambda uses: self._mapped.directory(uses_key(uses)) is not None,
        )

        def plan_jobs() -> list[PlannedJob]:
            planned = plan.jobs(document)
            home.mkdir(mode=0o700, parents=True)
            self._hosted.git.clone(run.sha, home / "repository")
            self._write_checkout(home / "checkout", run)
            return planned

        def site(job: JobRecord) -> JobSite:
            tokens = self._open_tokens(job, contexts["github"])
            run.log.hide([tokens[REQUEST_TOKEN]] if tokens else [])
            return JobSite(
                directory=home / str(job.id),
                repository=home / "repository",
                event={"inputs": contexts["github"]["event"]["inputs"]},
                secrets=secrets,
                variables=contexts["vars"],
                image=self._config.image,
                environment={**_variables(contexts["github"]), **tokens},
                actor=self._login,
                actions=self._mapped.actions_of(job.plan.uses, home / "checkout"),
            )

        def close(site: JobSite) -> None:
            if self._id_tokens is not None:
                self._id_tokens.close(site.environment)

        return RunOrder(
            concurrency=_concurrency(plan, document),
            plan=plan_jobs,
            site=site,
            close=close,
            finish=lambda: shutil.rmtree(home, ignore_errors=True),
        )

    def _github(self, run: RunRecord, ref: str) -> dict[str, str]:
        """The `github` context; GITHUB_* are its variables."""
        name = self._hosted.git.name
        return {
            "actor": self._login,
            "actor_id": "1",
            "api_url": API,
            "event_name": "workflow_dispatch",
            "graphql_url": f"{API}/graphql",
            "ref": ref,
            "ref_name": run.ref,
            "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
            "repository": name,
            "repository_id": "1",
            "repository_owner": name.partition("/")[0],
            "repository_owner_id": "1",
            "run_attempt": "1",
            "run_id": str(run.id),
            "run_number": str(run.number),
            "server_url": SERVER,
            "sha": run.sha,
            "triggering_actor": self._login,
            "workflow": run.workflow,
            "workflow_ref": f"{name}/{FOLDER}/{run.file}@{ref}",
            "workflow_sha": run.sha,
        }

    def _open_tokens(self, job: JobRecord, github: Mapping[str, Any]) -> dict[str, str]:
        """The variables of a job that may ask for id tokens; none for others."""
        if self._id_tokens is None or job.plan.permissions.get("id-token") != "write":
            return {}
        called = self._locate(job.plan.workflow) or (github["workflow_ref"], github["sha"])
        visibility = self._hosted.visibility
        claims = claims_of(job.plan, github, visibility=visibility, called=called)
        return self._id_tokens.open(claims)

    def _locate(self, workflow: str) -> tuple[str, str | None] | None:
        """A called workflow's address with its full ref, and its commit where it is known."""
        if not workflow:
            return None
        location, _, ref = workflow.rpartition("@")
        repository = "/".join(location.split("/")[:2])
        git = self._hosted.git
        if repository != git.name or self._mapped.is_given(repository):
            git = self._mapped.repositories()[repository]
        full, commit = git.resolve(ref) or (ref, git.commit(ref))
        if commit is None and not re.fullmatch("[0-9a-f]{40}", ref):
            full = f"refs/heads/{ref}"  # a directory without commits stands for every branch
        return f"{location}@{full}", commit

    def _read_called(self, address: str) -> str | None:
        location, _, ref = address.rpartition("@")
        owner, name, path = location.split("/", 2)
        repository = f"{owner}/{name}"
        git = self._hosted.git
        if repository == git.name and not self._mapped.is_given(repository):
            found = git.commit(ref)
            return None if found is None else git.read_text(found, path)
        directory = self._mapped.directory(f"{repository}@{ref}")
        file = None if directory is None else directory / path
        return file.read_text("utf-8") if file is not None and file.is_file() else None

    def _write_checkout(self, target: Path, run: RunRecord) -> None:
        shutil.copytree(CHECKOUT, target)
        known = {
            "caller": {
                "name": self._hosted.git.name,
                "directory": os.fspath(self._config.directory.resolve()),
                "commit": run.sha,
            },
            "mapped": {
                key.partition("@")[0]: os.fspath(path.resolve())
                for key, path in self._config.actions.items()
            },
        }
        write_json(target / "repositories.json", known)


def _variables(github: Mapping[str, Any]) -> dict[str, str]:
    return {f"GITHUB_{key.upper()}": one for key, one in github.items() if isinstance(one, str)}


def _concurrency(plan: Plan, document: Document) -> Concurrency | None:
    try:
        return plan.concurrency(document)
    except StartupFailureError:
        return None  # told when the jobs are planned
