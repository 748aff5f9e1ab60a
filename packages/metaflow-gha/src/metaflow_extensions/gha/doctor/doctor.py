"""`gha doctor`: every prerequisite of a run, how it stands, and what mends it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from metaflow_extensions.gha.doctor.bucket import Bucket
from metaflow_extensions.gha.doctor.checks import NeedsError, Status, ask_all
from metaflow_extensions.gha.doctor.here import Here
from metaflow_extensions.gha.doctor.network import Network
from metaflow_extensions.gha.doctor.on_github import OnGitHub
from metaflow_extensions.gha.doctor.report import as_json, print_table
from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.inject.inject import Wish, inject
from metaflow_extensions.gha.prerequisites.fingerprint import Fingerprint
from metaflow_extensions.gha.prerequisites.repository_values import SyncMode
from metaflow_extensions.gha.prerequisites.secret_sync import (
    set_secrets,
    set_variables,
    sync_mode,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metaflow_extensions.gha.doctor.checks import Check, Question
    from metaflow_extensions.gha.settings import Settings


class Doctor:
    """One look at everything. Reads only, but for `fix`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._here = Here(settings, lambda: self._on_github.root)
        self._on_github = OnGitHub(settings, self._here)
        self._bucket = Bucket(settings, self._here)
        self._network = Network(settings, self._on_github)

    def examine(self) -> list[Check]:
        """All checks, those that do not rest on each other at once, in the order of a set-up."""
        here, github, bucket, network = self._here, self._on_github, self._bucket, self._network
        questions: list[Question[object]] = [
            here.python,
            here.metaflow,
            here.uv,
            github.gh,
            github.login,
            github.repository,
            github.visibility,
            github.actions,
            github.workflow,
            github.secrets,
            github.variables,
            network.metadata,
            here.datastore,
            here.credentials,
            network.endpoint,
            bucket.bucket,
            bucket.conditional_writes,
            bucket.clock,
        ]
        return ask_all(questions)

    def fix(self) -> Iterator[str]:
        """Do what takes nothing away and costs nothing; yields a line for each thing done or refused.

        Writes a workflow file that is missing here, enables a disabled workflow, sets secrets and variables as a run
        would. Nothing is overwritten, committed or pushed.
        """
        from gha_dispatch import DispatchError

        for mend in (self._write, self._enable, self._set_variables, self._set_secrets):
            try:
                yield from mend()
            except NeedsError:  # noqa: PERF203  # its check says what is in the way
                continue
            except GhaException as error:
                yield error.message
            except DispatchError as error:
                yield str(error)

    def forget(self) -> None:
        """Let the next run compare the repository anew, whatever an earlier one remembers."""
        with suppress(NeedsError):
            Fingerprint.of(str(self._on_github.repository.value)).forget()

    def _write(self) -> Iterator[str]:
        if self._on_github.checkout.text is None:
            yield from inject(Wish())

    def _enable(self) -> Iterator[str]:
        file = self._settings.caller_workflow
        workflow = self._on_github.github.workflow(file)
        if workflow.exists() and workflow.state() != "active":
            workflow.enable()
            yield f"Enabled the workflow {file}."

    def _set_variables(self) -> Iterator[str]:
        changes = self._on_github.variables.value
        if sync_mode(self._settings) is not SyncMode.NEVER:
            yield from set_variables(self._on_github.github, changes)

    def _set_secrets(self) -> Iterator[str]:
        changes = self._on_github.secrets.value
        if sync_mode(self._settings) is not SyncMode.NEVER:
            yield from set_secrets(self._on_github.github, changes)


def run_doctor(settings: Settings, *, fix: bool, machine: bool) -> bool:
    """Examine, print, and with `fix` mend and examine again; returns whether nothing stands in the way of a run."""
    doctor = Doctor(settings)
    checks = doctor.examine()
    doctor.forget()
    fixed: list[str] = []
    if fix:
        for line in doctor.fix():
            fixed.append(line)
            if not machine:
                print(line)  # noqa: T201  # what a command is for
        checks = Doctor(settings).examine()
    if machine:
        print(as_json(checks, fixed))  # noqa: T201  # likewise
    else:
        print_table(checks)
    return all(check.status is not Status.FAILED for check in checks)
