"""From a dispatch to a run: its contexts, its environment, and what its jobs run with."""

from __future__ import annotations

import os
import secrets as random
import shutil
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing._document import Document, trigger, typed_inputs
from gha_dispatch.testing._expressions import ExpressionError, as_text, evaluate
from gha_dispatch.testing._hosted import FOLDER
from gha_dispatch.testing._job import JobSite
from gha_dispatch.testing._mapped import CHECKOUT
from gha_dispatch.testing._plan import Plan, PlannedJob, uses_key
from gha_dispatch.testing._private_file import write_json
from gha_dispatch.testing._route import API, SERVER
from gha_dispatch.testing._runs import JobRecord, RunOrder, RunRecord, Runs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gha_dispatch.testing._config import StandInConfig
    from gha_dispatch.testing._hosted import Hosted
    from gha_dispatch.testing._mapped import Mapped


class Dispatcher:
    """Starts runs of the hosted repository. `root` holds what jobs need, `logs` what they wrote."""

    def __init__(
        self,
        config: StandInConfig,
        *,
        hosted: Hosted,
        mapped: Mapped,
        runs: Runs,
        login: str,
        root: Path,
        logs: Path,
    ) -> None:
        self._config = config
        self._hosted = hosted
        self._mapped = mapped
        self._runs = runs
        self._login = login
        self._root = root
        self._logs = logs
        self._first_id = random.randbelow(10**9) + 10**9

    def dispatch(
        self, file: str, document: Document, ref: str, commit: str, inputs: Mapping[str, str]
    ) -> RunRecord:
        """Start a run of a workflow at a commit, with checked inputs."""
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
            log=self._logs / f"{self._first_id + number}.log",
        )
        github = self._github(run, ref)
        declared = (trigger(document, "workflow_dispatch") or {}).get("inputs") or {}
        contexts = {
            "inputs": typed_inputs(declared, inputs),
            # read when a run is queued, as secrets are: what is set later is not seen
            "vars": self._hosted.variables.values(),
            "github": {
                **{key.removeprefix("GITHUB_").lower(): value for key, value in github.items()},
                "event": {"inputs": dict(inputs)},
            },
        }
        try:
            run.title = as_text(evaluate(document.get("run-name") or name, contexts))
        except ExpressionError:
            run.title = name
        self._runs.start(run, self._order(run, document, contexts, github))
        return run

    def _order(
        self,
        run: RunRecord,
        document: Document,
        contexts: Mapping[str, Any],
        github: Mapping[str, str],
    ) -> RunOrder:
        secrets = {
            name: value.decode("utf-8", "replace")
            for name, value in self._hosted.secrets.values().items()
        }
        secrets["GITHUB_TOKEN"] = f"ghs_{random.token_hex(20)}"
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

        def site(_run: RunRecord, job: JobRecord) -> JobSite:
            return JobSite(
                directory=home / str(job.id),
                repository=home / "repository",
                event={"inputs": contexts["github"]["event"]["inputs"]},
                secrets=secrets,
                variables=contexts["vars"],
                image=self._config.image,
                github=github,
                actor=self._login,
                actions=self._mapped.actions_of(job.plan.uses, home / "checkout"),
            )

        return RunOrder(
            plan=plan_jobs,
            site=site,
            finish=lambda _run: shutil.rmtree(home, ignore_errors=True),
            hidden=tuple(secrets.values()),
        )

    def _github(self, run: RunRecord, ref: str) -> dict[str, str]:
        name = self._hosted.git.name
        return {
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.number),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_REPOSITORY": name,
            "GITHUB_REPOSITORY_ID": "1",
            "GITHUB_REPOSITORY_OWNER": name.partition("/")[0],
            "GITHUB_REPOSITORY_OWNER_ID": "1",
            "GITHUB_SERVER_URL": SERVER,
            "GITHUB_API_URL": API,
            "GITHUB_GRAPHQL_URL": f"{API}/graphql",
            "GITHUB_REF": ref,
            "GITHUB_REF_NAME": run.ref,
            "GITHUB_REF_TYPE": "tag" if ref.startswith("refs/tags/") else "branch",
            "GITHUB_SHA": run.sha,
            "GITHUB_WORKFLOW": run.workflow,
            "GITHUB_WORKFLOW_REF": f"{name}/{FOLDER}/{run.file}@{ref}",
            "GITHUB_WORKFLOW_SHA": run.sha,
            "GITHUB_ACTOR": self._login,
            "GITHUB_TRIGGERING_ACTOR": self._login,
            "GITHUB_EVENT_NAME": "workflow_dispatch",
        }

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
