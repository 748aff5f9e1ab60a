"""Which secrets and variables the repository must hold for its VMs, and what may be set from here. No I/O."""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaflow_extensions.gha.setup.checks import UnmetError
from metaflow_extensions.gha.setup.credentials import CredentialKind, Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metaflow_extensions.gha.setup.gh_commands import GhCommands

ROOT = "METAFLOW_DATASTORE_SYSROOT_S3"
ENDPOINT = "AWS_ENDPOINT_URL_S3"
REGION = "AWS_REGION"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105  # the name of a secret
SERVICE = "METAFLOW_SERVICE_URL"
SERVICE_KEY = "METAFLOW_SERVICE_AUTH_KEY"

# The second name under which a VM looks for a value.
ALSO_READ = {ENDPOINT: "METAFLOW_S3_ENDPOINT_URL", REGION: "AWS_DEFAULT_REGION"}

KEYLESS = "python flow.py gha inject --oidc-role arn:aws:iam::ACCOUNT:role/NAME"


class SyncMode(enum.Enum):
    """What a run may do about the repository's secrets and variables: METAFLOW_GHA_SYNC_SECRETS."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"

    @classmethod
    def parse(cls, text: str) -> SyncMode:
        """Read the user's word for it; raises UnmetError."""
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise UnmetError(
                f"METAFLOW_GHA_SYNC_SECRETS={text} is none of auto, always and never.",
                "export METAFLOW_GHA_SYNC_SECRETS=auto",
            ) from None


@dataclass(frozen=True)
class LocalValues:
    """What a run uses on this machine, by the names that GitHub holds it by.

    `unreachable` says for a variable with an address that no VM of GitHub can reach why that is.
    """

    credentials: Credentials
    service_key: str | None = field(repr=False)
    variables: Mapping[str, str]
    unreachable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What is to be set on GitHub, and what the user should hear about the rest."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()


def secret_changes(
    local: LocalValues,
    held: frozenset[str],
    mode: SyncMode,
    commands: GhCommands,
    *,
    is_keyless: bool,
) -> Changes:
    """Compare the names of the repository's secrets with what its VMs need.

    With `is_keyless` the VMs take on an AWS role by themselves, and need no keys.

    Raises
    ------
    UnmetError
        AWS would refuse the VMs, and nothing that may be set from here mends it
    """
    wanted = {SERVICE_KEY: local.service_key} if local.service_key else {}
    if not is_keyless:
        wanted |= _keys(local.credentials, held, mode, commands)
    return Changes(
        {name: text for name, text in wanted.items() if mode is SyncMode.ALWAYS or name not in held}
    )


def _keys(
    credentials: Credentials, held: frozenset[str], mode: SyncMode, commands: GhCommands
) -> Mapping[str, str]:
    if credentials.kind is CredentialKind.STATIC and SESSION_TOKEN in held:
        raise UnmetError(
            f"The AWS key here is a lasting one, but {commands.name} also holds an {SESSION_TOKEN}, left over "
            "from a temporary one: AWS refuses VMs that use both.",
            commands.delete_secret(SESSION_TOKEN),
        )
    is_storable = credentials.kind is CredentialKind.STATIC or mode is SyncMode.ALWAYS
    found = credentials.secrets if is_storable else {}
    missing = [name for name in KEYS if name not in held and name not in found]
    if not missing:
        return found
    lack = f"{commands.name} has no secret {' and no '.join(missing)}"
    if credentials.kind is CredentialKind.TEMPORARY:
        raise UnmetError(
            f"{lack}, and the AWS credentials here (from {credentials.source}) are temporary: they would "
            "expire on GitHub, so they are not stored there. VMs can do without a key, by OIDC: they take on a "
            "role of AWS.",
            KEYLESS,
        )
    raise UnmetError(
        f"{lack}, and there are no AWS credentials here.",
        *(commands.set_secret(name) for name in missing),
    )


def variable_changes(
    local: LocalValues, held: Mapping[str, str], mode: SyncMode, commands: GhCommands
) -> Changes:
    """Compare the repository's variables with what is set here.

    Raises
    ------
    UnmetError
        the VMs would look into another bucket, or could not reach the store
    """
    values: dict[str, str] = {}
    notes: list[str] = []
    for name, here in local.variables.items():
        there = held.get(name) or held.get(ALSO_READ.get(name, ""))
        if name in local.unreachable:
            if not there:
                raise UnmetError(
                    f"No VM of GitHub can reach {here}: {local.unreachable[name]}. Use a server on the internet, or "
                    f"tell {commands.name} by which address the internet knows this one.",
                    commands.set_variable(name, "https://HOST", is_there=False),
                )
            notes.append(f"{name} is {there} for the VMs: none of them can reach {here}.")
        elif not there or (mode is SyncMode.ALWAYS and there != here):
            values[name] = here
        elif there.rstrip("/") == here.rstrip("/"):
            continue
        elif name == ROOT:
            raise UnmetError(
                f"This run would work in {here}, its VMs in {there}: that is the variable {name} of "
                f"{commands.name}. Let both be the same, as there or as here.",
                f"export {name}={shlex.quote(there)}",
                f"# or: {commands.set_variable(name, here, is_there=True)}",
            )
        else:
            notes.append(f"{name} is {here} here and {there} for the VMs.")
    elsewhere = held.get(ENDPOINT) or held.get(ALSO_READ[ENDPOINT])
    if elsewhere and ENDPOINT not in local.variables:
        notes.append(f"{ENDPOINT} is not set here and {elsewhere} for the VMs.")
    return Changes(values, tuple(notes))
