"""Gives the repository what its VMs need and this machine has, before the first VMs are asked for.

GitHub reads secrets when a workflow run is queued: what is set later is not seen
(https://docs.github.com/en/actions/reference/security/secrets).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaflow import metaflow_config

from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.prerequisites.addresses import Runners, host_of, obstacle
from metaflow_extensions.gha.prerequisites.credentials import local_credentials
from metaflow_extensions.gha.prerequisites.fingerprint import Fingerprint
from metaflow_extensions.gha.prerequisites.gh_commands import GhCommands
from metaflow_extensions.gha.prerequisites.repository_values import (
    ENDPOINT,
    REGION,
    ROOT,
    HeldSecrets,
    HeldVariables,
    LocalValues,
    SecretChanges,
    SyncMode,
    VariableChanges,
    require_reachable,
    secret_changes,
    variable_changes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gha_dispatch import GitHub
    from metaflow_extensions.gha.inject.caller import CallerOptions
    from metaflow_extensions.gha.prerequisites.credentials import Credentials
    from metaflow_extensions.gha.settings import Settings


def sync_mode(settings: Settings) -> SyncMode:
    """What a run here may set on GitHub; raises UnmetError for a word that is none.

    Nothing inside GitHub Actions: a run there must not write what the next one reads.
    """
    mode = SyncMode.parse(settings.sync_secrets)
    return SyncMode.NEVER if os.environ.get("GITHUB_ACTIONS") == "true" else mode


@dataclass(frozen=True)
class SecretSync:
    """What the repository lacks of what this machine has. Made by `compare`; `apply` sets it.

    Two steps, because a run first proves by its queue that the values are good.
    """

    github: GitHub
    secrets: SecretChanges
    variables: VariableChanges
    fingerprint: Fingerprint
    compared: str = field(repr=False)

    @classmethod
    def compare(
        cls, github: GitHub, settings: Settings, root: str, options: CallerOptions
    ) -> SecretSync | None:
        """Compare; None where there is nothing to do.

        Four requests; none when nothing changed here since the last time, unless the mode is "always". `options` are
        those of the caller workflow on GitHub.

        Raises
        ------
        UnmetError
            the VMs could not work, and nothing that may be set from here mends it
        DispatchError
            GitHub or gh
        """
        mode = sync_mode(settings)
        if mode is SyncMode.NEVER:
            return None
        is_keyless = bool(options.oidc_role)
        credentials = local_credentials(fetch_temporary=mode is SyncMode.ALWAYS and not is_keyless)
        runners = Runners.of(github.repository.host, options.runs_on)
        local = local_values(settings, root, credentials, runners)
        compared = _as_text(local, mode, options)
        fingerprint = Fingerprint.of(str(github.repository))
        # Somebody else may have set what is now there: only "always" does not rest on memory.
        if mode is not SyncMode.ALWAYS and fingerprint.matches(compared):
            return None
        commands = GhCommands.of(github)
        held = held_variables(github)
        require_reachable(local, held, commands)
        variables = variable_changes(local, held, mode, commands)
        secrets = secret_changes(local, held_secrets(github), mode, commands, is_keyless=is_keyless)
        return cls(github, secrets, variables, fingerprint, compared)

    def apply(self) -> Iterator[str]:
        """Set what is to be set; yields a line for each value that now is, and for each that differs."""
        yield from set_variables(self.github, self.variables)
        yield from set_secrets(self.github, self.secrets)
        yield from (note.text for note in self.variables.notes)
        self.fingerprint.remember(self.compared)


def held_secrets(github: GitHub) -> HeldSecrets:
    """Ask for the repository's own secrets and those that its organization shares with it. Two requests."""
    own, shared = frozenset(github.secrets.names()), frozenset(github.secrets.inherited())
    return HeldSecrets(own | shared, shared - own)


def held_variables(github: GitHub) -> HeldVariables:
    """Ask for the repository's own variables and those that its organization shares with it. Two requests."""
    own, shared = github.variables.values(), github.variables.inherited()
    return HeldVariables({**shared, **own}, frozenset(shared.keys() - own.keys()))


def set_secrets(github: GitHub, changes: SecretChanges) -> Iterator[str]:
    """Set the secrets; yields a line for each that now is, without its value. Two requests for each."""
    for name, value in changes.values.items():
        github.secrets.set(name, value)
        yield f"Set the secret {name} of {_name(github)} to what is used here."


def set_variables(github: GitHub, changes: VariableChanges) -> Iterator[str]:
    """Set the variables; yields a line for each that now is. At most two requests for each."""
    for name, value in changes.values.items():
        github.variables.set(name, value)
        yield f"Set the variable {name} of {_name(github)} to {value}."


def _name(github: GitHub) -> str:
    return f"{github.repository.owner}/{github.repository.name}"


def local_values(
    settings: Settings, root: str, credentials: Credentials, runners: Runners
) -> LocalValues:
    """Collect what a run uses here; `root` is the datastore's. Resolves the names in addresses."""
    endpoint = settings.endpoint
    variables = {ROOT: root, ENDPOINT: endpoint, REGION: _region()}
    trouble = None
    # What is no address at all is refused elsewhere, in its own words.
    with suppress(UnmetError):
        trouble = obstacle(host_of(endpoint, ENDPOINT), runners) if endpoint else None
    return LocalValues(
        credentials,
        metaflow_config.SERVICE_AUTH_KEY,
        {name: value for name, value in variables.items() if value},
        trouble or "",
    )


def _region() -> str | None:
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return os.environ.get("AWS_REGION") or boto3.session.Session().region_name
    except BotoCoreError:  # a profile that does not exist: the credentials say so
        return None


def _as_text(local: LocalValues, mode: SyncMode, options: CallerOptions) -> str:
    """All that the outcome of a comparison rests on, besides what GitHub holds."""
    return json.dumps(
        [
            mode.value,
            bool(options.oidc_role),
            local.credentials.kind.value,
            sorted(local.credentials.secrets.items()),
            local.service_key,
            sorted(local.variables.items()),
            local.unreachable,
        ]
    )
