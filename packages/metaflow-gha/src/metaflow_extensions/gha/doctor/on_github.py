"""The checks that ask the repository on GitHub, through the user's own gh."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from metaflow_extensions.gha.doctor.checks import Found, NeedsError, Question, Status
from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.inject.caller import caller_path
from metaflow_extensions.gha.prerequisites.addresses import Runners
from metaflow_extensions.gha.prerequisites.credentials import CredentialKind, Credentials
from metaflow_extensions.gha.prerequisites.gh_commands import GhCommands
from metaflow_extensions.gha.prerequisites.github_errors import unmet
from metaflow_extensions.gha.prerequisites.repository import OWNER, require_repository
from metaflow_extensions.gha.prerequisites.repository_values import (
    ENDPOINT,
    KEYS,
    ROOT,
    HeldVariables,
    SecretChanges,
    SyncMode,
    VariableChanges,
    secret_changes,
    variable_changes,
)
from metaflow_extensions.gha.prerequisites.required_settings import require_endpoint
from metaflow_extensions.gha.prerequisites.secret_sync import (
    held_secrets,
    held_variables,
    local_values,
    sync_mode,
)
from metaflow_extensions.gha.prerequisites.workflow import Checkout, require_workflow
from metaflow_extensions.gha.settings import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gha_dispatch import Gh, GitHub, Permissions, Repository, RepositoryView
    from metaflow_extensions.gha.doctor.here import Here
    from metaflow_extensions.gha.inject.caller import CallerOptions
    from metaflow_extensions.gha.settings import Settings

T = TypeVar("T")

# Seconds for one call of gh, and for all that GitHub asks us to wait.
CALL, PATIENCE = 10.0, 5.0

# One minute of the standard Linux runner of a private repository, beyond those that the plan
# includes: https://docs.github.com/en/billing/reference/actions-runner-pricing
MINUTE = "$0.006"


class OnGitHub:
    """What the repository on GitHub has and lets happen."""

    def __init__(self, settings: Settings, here: Here) -> None:
        self._settings = settings
        self._here = here
        self.gh = Question("gh", _translated(_gh))
        self.login = Question("login", _translated(self._login))
        self.repository = Question("repository", _translated(self._repository))
        self.visibility = Question("visibility", _translated(self._visibility))
        self.actions = Question("actions", _translated(self._actions))
        self.workflow = Question("workflow", _translated(self._workflow))
        self.secrets = Question("secrets", _translated(self._secrets))
        self.variables = Question("variables", _translated(self._variables))
        self.held_variables = Question("variables", _translated(self._held_variables))

    @property
    def github(self) -> GitHub:
        """The client; its requests are bounded in time."""
        from gha_dispatch import GitHub

        return GitHub(self.gh.value, self.repository.value, patience=PATIENCE)

    @property
    def commands(self) -> GhCommands:
        """The commands for this repository."""
        return GhCommands.of(self.github)

    @cached_property
    def checkout(self) -> Checkout:
        """The workflow in the checkout around the current directory; none where its name is none."""
        try:
            return Checkout.look(self._settings)
        except UnmetError:  # the check of the workflow says so
            return Checkout(self._settings.caller_workflow)

    @property
    def options(self) -> CallerOptions:
        """How the workflow was made: the one on GitHub, else the one here, else as it would be made now."""
        try:
            return self.workflow.value
        except NeedsError:
            return self.checkout.options

    @property
    def root(self) -> str | None:
        """The root of the datastore that the VMs use, where it is known."""
        try:
            return self.held_variables.value.values.get(ROOT)
        except NeedsError:
            return None

    @property
    def runners(self) -> Runners:
        """Where the VMs stand."""
        from gha_dispatch import Repository

        try:
            host = self.repository.value.host
        except NeedsError:
            host = Repository.parse(f"{OWNER}/NAME").host  # where gh would look
        return Runners.of(host, self.options.runs_on)

    def _repository(self) -> Found[Repository]:
        try:
            found = require_repository(self._settings)
        except UnmetError as error:
            owner = self._owner()
            # Without a login nobody knows whose it will be, and a guess would be copied, too.
            known = [line.replace(OWNER, owner or OWNER) for line in error.remedy]
            remedy = [line for line in known if OWNER not in line]
            after = "" if remedy == known else " Log in first, then look again."
            raise UnmetError(error.found + after, *remedy) from None
        source = "METAFLOW_GHA_USER_REPO" if self._settings.user_repo else "the git remotes"
        return Found(found, f"{found}, from {source}")

    def _owner(self) -> str:
        """Whose the repository will be that is still to be named; empty without a login."""
        from gha_dispatch import DispatchError, GitHub, Repository

        with suppress(NeedsError, DispatchError):
            github = GitHub(self.gh.value, Repository.parse(f"{OWNER}/NAME"), patience=0)
            return github.check_login()
        return ""

    def _login(self) -> Found[Permissions | None]:
        from gha_dispatch import GitHub, Repository, RepositoryNotFoundError

        try:
            repository = self.repository.value
        except NeedsError:
            repository = Repository.parse(f"{OWNER}/NAME")
        github = GitHub(self.gh.value, repository, patience=PATIENCE)
        try:
            permissions = github.permissions()
        except RepositoryNotFoundError:
            return Found(None, f"{github.check_login()} on {repository.host}")
        name = f"{permissions.login or 'a token of no account'} on {repository.host}"
        scopes = permissions.scopes
        if scopes is None:
            return Found(permissions, f"{name}, with a token without scopes")
        refresh = f"gh auth refresh --hostname {repository.host} --scopes repo,workflow"
        shown = f"{name}, scopes {', '.join(sorted(scopes)) or 'none'}"
        if not scopes & {"repo", "public_repo"}:
            raise UnmetError(f"{shown}: starting workflows takes the scope repo.", refresh)
        if "workflow" not in scopes:
            text = f"{shown}: without the scope workflow git cannot push a workflow over https"
            return Found(permissions, text, warning=True, remedy=(refresh,))
        return Found(permissions, shown)

    def _visibility(self) -> Found[RepositoryView]:
        from gha_dispatch import RepositoryNotFoundError

        permissions, commands = self.login.value, self.commands
        try:
            view = self.github.about()
        except RepositoryNotFoundError as error:
            view_it = f"gh repo view {commands.repository}"
            make_it = f"gh repo create {commands.repository} --private"
            raise UnmetError(str(error), view_it if error.is_moved else make_it) from None
        if view.is_archived:
            raise UnmetError(
                f"{view.full_name} is archived, so nothing runs there.",
                f"gh api --hostname {commands.host} --method PATCH repos/{commands.name} -F archived=false",
            )
        if permissions and permissions.scopes is not None and not permissions.push:
            raise UnmetError(
                f"{permissions.login} may read {view.full_name} but not write to it, and starting workflows takes "
                "that: ask its owner, or work in a fork.",
                f"gh repo fork {commands.repository} --remote",
            )
        # As this checkout has it: the workflow on GitHub is looked for when the repository is seen.
        runners = Runners.of(commands.host, self.checkout.options.runs_on)
        return Found(view, terms(view.visibility, runners))

    def _actions(self) -> Found[None]:
        from gha_dispatch import ActionsDisabledError

        view, commands = self.visibility.value, self.commands
        enabled = self.github.actions_enabled()
        if enabled is None:
            return Found(None, "not known: this login may not ask")
        if not enabled:
            error = ActionsDisabledError(commands.repository, fork=view.is_fork)
            path = f"repos/{commands.name}/actions/permissions"
            raise UnmetError(
                str(error), f"gh api --hostname {commands.host} --method PUT {path} -F enabled=true"
            )
        return Found(None, "enabled")

    def _workflow(self) -> Found[CallerOptions]:
        from gha_dispatch import PermissionDeniedError, WorkflowDisabledError

        settings = self._settings
        _ = caller_path(settings)
        view, commands = self.visibility.value, self.commands
        workflow = self.github.workflow(settings.caller_workflow)
        try:
            source = workflow.source(settings.dispatch_ref or None)
        except PermissionDeniedError as error:
            return Found(self.checkout.options, f"not known: {error}", warning=True)
        options = require_workflow(
            source, settings, self.checkout, commands.repository, view.default_branch
        )
        if workflow.state() != "active":
            disabled = WorkflowDisabledError(commands.repository, settings.caller_workflow)
            raise UnmetError(
                str(disabled),
                f"gh workflow enable {settings.caller_workflow} --repo {commands.repository}",
            )
        shown = f"{settings.caller_workflow} is on {settings.dispatch_ref or view.default_branch}"
        if self.checkout.text not in {None, source}:
            return Found(
                options,
                f"{shown}, older or newer than in this checkout",
                warning=True,
                remedy=self.checkout.way_to(view.default_branch, settings, commands.repository),
            )
        return Found(options, f"{shown}, and fits this version")

    def _secrets(self) -> Found[SecretChanges]:
        """The value is what is missing there and known here."""
        from gha_dispatch import PermissionDeniedError

        _, mode = self.visibility.value, sync_mode(self._settings)
        try:
            held = held_secrets(self.github)
        except PermissionDeniedError as error:
            return Found(SecretChanges(), f"not known: {error}", warning=True)
        try:
            credentials = self._here.credentials.value
        except NeedsError:
            credentials = Credentials(CredentialKind.NONE)
        local = local_values(self._settings, "", credentials, self.runners)
        keyless = bool(self.options.oidc_role)
        changes = secret_changes(local, held, mode, self.commands, is_keyless=keyless)
        missing = [name for name in changes.values if name not in held.names]
        if missing:
            remedy = tuple(
                self.commands.set_secret(name, from_environment=name in os.environ)
                for name in missing
            )
            text = _missing(missing, mode, remedy)
            found = SecretChanges({name: changes.values[name] for name in missing})
            return Found(found, text, warning=True, remedy=remedy)
        known = [name for name in SECRETS if name in held.names]
        role = "no key needed: the VMs take on a role of AWS" if keyless else ""
        return Found(
            SecretChanges(), "; ".join(filter(None, [role, ", ".join(known)])) or "none needed"
        )

    def _held_variables(self) -> Found[HeldVariables]:
        """All variables there, none for a login that may not read them."""
        from gha_dispatch import PermissionDeniedError

        _ = self.visibility.value
        try:
            return Found(held_variables(self.github), "")
        except PermissionDeniedError as error:
            return Found(HeldVariables(), f"not known: {error}", warning=True)

    def _variables(self) -> Found[VariableChanges]:
        """The value is what is missing there and known here."""
        mode = sync_mode(self._settings)
        held, seen = self.held_variables.value, self.held_variables.check(0)
        if seen.status is Status.WARNING:
            return Found(VariableChanges(), seen.found, warning=True)
        root = self._here.datastore.value
        try:
            require_endpoint(self._settings)
        except UnmetError:
            raise NeedsError("endpoint") from None
        local = local_values(self._settings, root, Credentials(CredentialKind.NONE), self.runners)
        changes = variable_changes(local, held, mode, self.commands)
        missing = [name for name in changes.values if name not in held.values]
        remedy = [
            self.commands.set_variable(name, changes.values[name], is_there=False)
            for name in missing
        ]
        text = [_missing(missing, mode, remedy) + "."] if missing else []
        text += [note.text for note in changes.notes]
        remedy += [note.remedy for note in changes.notes if note.remedy]
        if text:
            return Found(
                VariableChanges({name: changes.values[name] for name in missing}),
                " ".join(text),
                warning=True,
                remedy=tuple(remedy),
            )
        return Found(VariableChanges(), ", ".join(local.variables))


def terms(visibility: str, runners: Runners) -> str:
    """Who reads the logs of the VMs, and what their minutes cost."""
    readers = "everybody can read the logs" if visibility == "public" else "only members read logs"
    if runners is Runners.OWN:
        return f"{visibility}: the runners are your own, {readers}"
    if visibility == "public" or runners is Runners.HERE:
        return f"{visibility}: VM minutes are free, {readers}"
    return f"{visibility}: a VM minute beyond those of your plan costs {MINUTE}, {readers}"


def _gh() -> Found[Gh]:
    from gha_dispatch import find_gh

    gh = find_gh(CALL)
    gh.check_version()
    return Found(gh, f"{gh.path}, {gh.version()}")


def _missing(names: Sequence[str], mode: SyncMode, remedy: Sequence[str]) -> str:
    """What the user reads of these names; raises UnmetError where no VM can do without and no run sets them."""
    text = f"{', '.join(names)}: missing there"
    if mode is not SyncMode.NEVER:
        return f"{text}; the next run sets what is known here"
    if {ROOT, ENDPOINT, *KEYS}.intersection(names):
        raise UnmetError(f"{text}, and no run here sets anything", *remedy)
    return text


def _translated(ask: Callable[[], Found[T]]) -> Callable[[], Found[T]]:
    """With the errors of gh and GitHub as prerequisites that are not met."""

    def translated() -> Found[T]:
        from gha_dispatch import DispatchError

        try:
            return ask()
        except DispatchError as error:
            raise unmet(error) from None

    return translated
