"""The checks of what here and GitHub must both reach: the store and the metadata service."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from metaflow_extensions.gha.doctor.checks import Found, NeedsError, Question
from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.prerequisites.addresses import Runners
from metaflow_extensions.gha.prerequisites.credentials import CredentialKind, Credentials
from metaflow_extensions.gha.prerequisites.repository_values import ENDPOINT, require_reachable
from metaflow_extensions.gha.prerequisites.required_settings import (
    require_endpoint,
    require_service,
)
from metaflow_extensions.gha.prerequisites.secret_sync import local_values

if TYPE_CHECKING:
    from metaflow_extensions.gha.doctor.on_github import OnGitHub
    from metaflow_extensions.gha.settings import Settings

# Seconds for the metadata service to answer.
ANSWER = 5.0


class Network:
    """Addresses that work here and must work for the VMs."""

    def __init__(self, settings: Settings, on_github: OnGitHub) -> None:
        self._settings = settings
        self._on_github = on_github
        self.endpoint = Question("endpoint", self._endpoint)
        self.metadata = Question("metadata", self._metadata)

    def _endpoint(self) -> Found[None]:
        here = require_endpoint(self._settings)
        nobody = Credentials(CredentialKind.NONE)
        runners = self._on_github.runners
        local = local_values(self._settings, "", nobody, runners)
        try:
            there = require_reachable(
                local, self._on_github.held_variables.value, self._on_github.commands
            )
        except NeedsError:
            if local.unreachable:
                raise UnmetError(
                    f"No VM of GitHub can reach {here}: {local.unreachable}.",
                    f"export {ENDPOINT}=https://HOST",
                ) from None
            there = here
        shown = there or "AWS's own"
        if runners is Runners.OWN:
            return Found(None, f"{shown}; whether your own runners reach it is not known here")
        if there != here:
            return Found(None, f"{shown} for the VMs, {here or 'AWS itself'} from here")
        return Found(None, shown)

    def _metadata(self) -> Found[None]:
        provider = self._settings.metadata
        if provider != "service":
            return Found(None, f"{provider}: the VMs send theirs back through the bucket")
        url = require_service(self._settings, self._on_github.runners)
        try:
            with urlopen(f"{url.rstrip('/')}/ping", timeout=ANSWER):  # noqa: S310  # http or https
                return Found(None, f"service, {url}")
        except (URLError, OSError, ValueError) as error:
            raise UnmetError(
                f"The metadata service at {url} does not answer here: {error}"
            ) from None
