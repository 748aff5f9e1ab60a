"""From a workflow to the jobs that GitHub would start, each with the file that act executes for it.

act is lenient where GitHub is not. Every check of GitHub's that it lacks stands here or in
`matrix`, and each job is planned alone, so that the stand-in can queue, cancel and time it alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gha_dispatch.testing._workflows.concurrency import Concurrency, read_concurrency
from gha_dispatch.testing._workflows.document import (
    Document,
    InvalidWorkflowError,
    read_workflow,
    trigger,
    typed_inputs,
)
from gha_dispatch.testing._workflows.expressions import Contexts, ExpressionError, as_text, evaluate
from gha_dispatch.testing._workflows.matrix import MatrixError, combinations
from gha_dispatch.testing._workflows.permissions import Permissions, excess, granted, narrowed

DEFAULT_TIMEOUT = 360.0
LABELS = (
    "ubuntu-latest",
    "ubuntu-slim",
    *(f"ubuntu-{version}{cpu}" for version in ("22.04", "24.04", "26.04") for cpu in ("", "-arm")),
)
_REMOTE = re.compile(r"(?P<repository>[^/@]+/[^/@]+)(?P<path>/[^@]+)?@(?P<ref>.+)")


class StartupFailureError(Exception):
    """GitHub would refuse the run before any job starts."""


@dataclass(frozen=True)
class PlannedJob:
    """One job of a run: what GitHub counts as one VM.

    `files` are written below a directory that stands for the repository `called` ("o/r@ref").
    `refused` says why the job fails without starting. `timeout` is in minutes. Jobs of one `group`
    come from one matrix. `places` are the concurrency groups that it has to enter, the outermost
    first. `workflow` is the called file that it stands in, as in "owner/name/path@ref".
    """

    name: str
    group: str
    document: Document = field(repr=False)
    called: str = ""
    files: Mapping[str, Document] = field(default_factory=dict, repr=False)
    uses: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    timeout: float = DEFAULT_TIMEOUT
    fail_fast: bool = True
    max_parallel: int | None = None
    places: tuple[Concurrency, ...] = ()
    permissions: Permissions = field(default_factory=dict)
    environment: str = ""
    workflow: str = ""
    refused: str | None = None


@dataclass(frozen=True)
class Plan:
    """What planning needs to know: the contexts, and how to read a called workflow's text."""

    contexts: Contexts
    repository: str
    secrets: frozenset[str]
    labels: frozenset[str]
    read_called: Callable[[str], str | None]
    is_mapped: Callable[[str], bool]

    def concurrency(self, document: Document) -> Concurrency | None:
        """The group of a dispatched workflow. Raises StartupFailureError."""
        try:
            return read_concurrency(document.get("concurrency"), self.contexts)
        except ValueError as error:
            raise StartupFailureError(str(error)) from error

    def jobs(self, document: Document) -> list[PlannedJob]:
        """The jobs of a dispatched workflow. Raises StartupFailureError."""
        own = self.concurrency(document)
        try:
            planned = [
                job
                for name, body in document["jobs"].items()
                for job in self._jobs_of(document, name, body)
            ]
        except (ExpressionError, InvalidWorkflowError, ValueError) as error:
            raise StartupFailureError(str(error)) from error
        except (AttributeError, KeyError, TypeError) as error:
            raise StartupFailureError(f"the workflow is malformed: {error!r}") from error
        if not planned:
            raise StartupFailureError("the workflow has no jobs")
        return [_refuse_deadlock(job, own) for job in planned]

    def _jobs_of(self, document: Document, job_id: str, job: Document) -> Iterator[PlannedJob]:
        _refuse_needs(job_id, job)
        strategy = job.get("strategy") or {}
        held = granted(job.get("permissions", document.get("permissions")))
        called = self._called(job, held) if "uses" in job else None
        for combination, contexts in self._expanded(job, self.contexts):
            shared: dict[str, Any] = {
                "group": job_id,
                "permissions": held,
                "fail_fast": evaluate(strategy.get("fail-fast", True), contexts) is not False,
                "max_parallel": _whole(evaluate(strategy.get("max-parallel"), contexts)),
            }
            name = _name(job_id, job, combination, contexts)
            if isinstance(combination, MatrixError):
                yield PlannedJob(name, document=document, refused=str(combination), **shared)
                continue
            place = read_concurrency(job.get("concurrency"), contexts)
            shared["places"] = () if place is None else (place,)
            if called is None:
                executed = _alone(document, job_id, job, combination)
                yield self._planned(name, executed, job, contexts, shared)
            else:
                yield from self._called_jobs(
                    called,
                    name=name,
                    executed=_alone(document, job_id, job, combination),
                    job=job,
                    contexts=contexts,
                    shared=shared,
                )

    def _called_jobs(
        self,
        called: Document,
        *,
        name: str,
        executed: Document,
        job: Document,
        contexts: Contexts,
        shared: Mapping[str, Any],
    ) -> Iterator[PlannedJob]:
        """The jobs of a reusable workflow for one combination of its caller's matrix."""
        declared = (trigger(called, "workflow_call") or {}).get("inputs") or {}
        given = {key: (spec or {}).get("default") for key, spec in declared.items()}
        given |= evaluate(job.get("with") or {}, contexts)
        inner = {**self.contexts, "inputs": typed_inputs(declared, given)}
        repository, path, ref = self._address(job["uses"])
        # a name of its own: the same repository may be used for its actions as well
        address = f"{repository}@{ref}-called"
        (job_id,) = executed["jobs"]
        executed["jobs"][job_id]["uses"] = f"{repository}/{path}@{ref}-called"
        if job.get("secrets") == "inherit" and _owner(repository) != _owner(self.repository):
            del executed["jobs"][job_id]["secrets"]  # inherit does not cross owners
        whole = read_concurrency(called.get("concurrency"), inner)
        held = narrowed(called.get("permissions"), shared["permissions"])
        for inner_id, body in called["jobs"].items():
            _refuse_needs(inner_id, body)
            if "uses" in body:
                raise StartupFailureError(f"{job['uses']} calls a further workflow: not known here")
            for combination, inner_contexts in self._expanded(body, inner):
                label = f"{name} / {_name(inner_id, body, combination, inner_contexts)}"
                if isinstance(combination, MatrixError):
                    yield PlannedJob(label, document=called, refused=str(combination), **shared)
                    continue
                # act names a called workflow by its own name, GitHub by its caller's
                alone = _alone(called, inner_id, body, combination)
                files = {path: {**alone, "name": self.contexts["github"]["workflow"]}}
                place = read_concurrency(body.get("concurrency"), inner_contexts)
                inner_shared = {
                    **shared,
                    "called": address,
                    "files": files,
                    "places": (*shared["places"], *filter(None, (whole, place))),
                    "permissions": narrowed(body.get("permissions"), held),
                    "workflow": f"{repository}/{path}@{ref}",
                }
                yield self._planned(label, executed, body, inner_contexts, inner_shared)

    def _planned(
        self,
        name: str,
        executed: Document,
        job: Document,
        contexts: Contexts,
        shared: Mapping[str, Any],
    ) -> PlannedJob:
        wanted = evaluate(job.get("runs-on"), contexts)
        labels = tuple(map(as_text, wanted if isinstance(wanted, list) else [wanted]))
        uses = tuple(
            step["uses"]
            for step in job.get("steps") or []
            if not step.get("uses", ".").startswith(".")
        )
        refused = None
        unmapped = [use for use in uses if not self.is_mapped(use)]
        if "container" in job or "services" in job:
            refused = "containers are not run here"
        elif not isinstance(wanted, (str, list)) or set(labels) - self.labels.union(LABELS):
            unknown = sorted(set(labels) - self.labels.union(LABELS))
            refused = f"no runner has the label {', '.join(unknown)}"
        elif unmapped:
            refused = f"no directory is mapped to the action {unmapped[0]}"
        environment = evaluate(job.get("environment"), contexts)
        if isinstance(environment, Mapping):
            environment = environment.get("name")
        minutes = evaluate(job.get("timeout-minutes", DEFAULT_TIMEOUT), contexts)
        return PlannedJob(
            name,
            document=executed,
            uses=uses,
            labels=labels,
            timeout=float(minutes),
            environment=as_text(environment),
            refused=refused,
            **shared,
        )

    def _called(self, job: Document, held: Permissions) -> Document:
        """Read a called workflow and check the call as GitHub does."""
        uses = str(job["uses"])
        repository, path, ref = self._address(uses)
        text = self.read_called(f"{repository}/{path}@{ref}")
        if text is None:
            raise StartupFailureError(f"the called workflow {uses} was not found")
        document = read_workflow(text)
        declared = trigger(document, "workflow_call")
        if declared is None:
            raise StartupFailureError(f"{uses} has no workflow_call trigger")
        _check_names(uses, "input", declared.get("inputs"), job.get("with"))
        secrets = job.get("secrets")
        if secrets == "inherit":
            secrets = {name: "" for name in declared.get("secrets") or {} if name in self.secrets}
        _check_names(uses, "secret", declared.get("secrets"), secrets)
        for asked in (document, *document["jobs"].values()):
            beyond = excess(asked.get("permissions"), held)
            if beyond:
                raise StartupFailureError(
                    f"{uses} asks for {', '.join(beyond)}, which its caller does not grant"
                )
        return document

    def _address(self, uses: str) -> tuple[str, str, str]:
        if uses.startswith("./"):
            return self.repository, uses[2:], str(self.contexts["github"]["sha"])
        match = _REMOTE.fullmatch(uses)
        if match is None or not match["path"]:
            raise StartupFailureError(f"{uses} is no reusable workflow")
        return match["repository"], match["path"][1:], match["ref"]

    def _expanded(
        self, job: Document, contexts: Contexts
    ) -> Iterator[tuple[dict[str, Any] | MatrixError, Contexts]]:
        stated = (job.get("strategy") or {}).get("matrix")
        if stated is None:
            yield {}, contexts
            return
        try:
            found = combinations(evaluate(stated, contexts))
        except MatrixError as error:
            yield error, contexts
            return
        for combination in found:
            yield combination, {**contexts, "matrix": combination}


def uses_key(uses: str) -> str:
    """The repository and ref of a step's `uses`, as in owner/name@ref; empty for other forms."""
    match = _REMOTE.fullmatch(uses)
    return "" if match is None else f"{match['repository']}@{match['ref']}"


def _alone(
    document: Document, job_id: str, job: Document, combination: Mapping[str, Any]
) -> Document:
    """The workflow with this job only, and of its matrix with this combination only."""
    body = {key: value for key, value in job.items() if key not in {"strategy", "concurrency"}}
    if combination:
        body["strategy"] = {"max-parallel": 1, "matrix": {"include": [dict(combination)]}}
    dropped = {"jobs", "run-name", "concurrency"}
    kept = {key: value for key, value in document.items() if key not in dropped}
    return {**kept, "jobs": {job_id: body}}


def _name(
    job_id: str, job: Document, combination: Mapping[str, Any] | MatrixError, contexts: Contexts
) -> str:
    if isinstance(combination, MatrixError):
        return job_id
    if "name" in job:
        return as_text(evaluate(job["name"], contexts))
    return f"{job_id} ({', '.join(map(as_text, combination.values()))})" if combination else job_id


def _check_names(uses: str, kind: str, declared: object, given: object) -> None:
    known = declared if isinstance(declared, Mapping) else {}
    passed = given if isinstance(given, Mapping) else {}
    unknown = sorted(set(passed) - set(known))
    if unknown:
        raise StartupFailureError(f"{uses} declares no {kind} {', '.join(unknown)}")
    missing = sorted(
        name for name, spec in known.items() if (spec or {}).get("required") and name not in passed
    )
    if missing:
        raise StartupFailureError(f"{uses} requires the {kind} {', '.join(missing)}")


def _refuse_needs(job_id: str, job: Document) -> None:
    if "needs" in job:
        raise StartupFailureError(f"the job {job_id} has needs: not known here")


def _refuse_deadlock(job: PlannedJob, own: Concurrency | None) -> PlannedJob:
    """A job cannot wait for the group that its own run holds."""
    groups = [place.group for place in (own, *job.places) if place is not None]
    if len({group.lower() for group in groups}) == len(groups):
        return job
    return replace(job, refused=f"it would wait for itself in the concurrency group {groups[-1]!r}")


def _owner(repository: str) -> str:
    return repository.partition("/")[0].lower()


def _whole(value: object) -> int | None:
    return None if value is None else int(float(as_text(value)))
