"""Which secrets and variables the repository must hold for its VMs, and what may be set from here. No I/O."""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.prerequisites.credentials import CredentialKind, Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metaflow_extensions.gha.prerequisites.gh_commands import GhCommands

ROOT = "METAFLOW_DATASTORE_SYSROOT_S3"
ENDPOINT = "AWS_ENDPOINT_URL_S3"
REGION = "AWS_REGION"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105  # the name of a secret
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

    `unreachable` says why no VM of GitHub can reach the store's address, and is empty where they can. The metadata
    service is not among the variables: where it is, each job is told.
    """

    credentials: Credentials
    service_key: str | None = field(repr=False)
    variables: Mapping[str, str]
    unreachable: str = ""


@dataclass(frozen=True)
class Note:
    """What differs between here and GitHub without being wrong, and the command that makes it the same."""

    text: str
    remedy: str


@dataclass(frozen=True)
class HeldSecrets:
    """The names of the secrets that a VM finds; `shared` are those of the organization's."""

    names: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class HeldVariables:
    """The variables that a VM finds; `shared` are the names of those of the organization's."""

    values: Mapping[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SecretChanges:
    """The secrets that are to be set on GitHub. A type of its own: no secret may end up as a variable."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class VariableChanges:
    """The variables that are to be set on GitHub, and what the user should hear about the others."""

    values: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def secret_changes(
    local: LocalValues,
    held: HeldSecrets,
    mode: SyncMode,
    commands: GhCommands,
    *,
    is_keyless: bool,
) -> SecretChanges:
    """Compare the names of the secrets that the VMs find with what they need.

    With `is_keyless` the VMs take on an AWS role by themselves, and need no keys.

    Raises
    ------
    UnmetError
        AWS would refuse the VMs, and nothing that may be set from here mends it
    """
    wanted = {SERVICE_KEY: local.service_key} if local.service_key else {}
    if not is_keyless:
        wanted |= _keys(local.credentials, held, mode, commands)
    return SecretChanges(
        {
            name: text
            for name, text in wanted.items()
            if mode is SyncMode.ALWAYS or name not in held.names
        }
    )


def _keys(
    credentials: Credentials, held: HeldSecrets, mode: SyncMode, commands: GhCommands
) -> Mapping[str, str]:
    if credentials.kind is CredentialKind.STATIC and SESSION_TOKEN in held.names:
        is_shared = SESSION_TOKEN in held.shared
        holder = (
            f"the organization of {commands.name} shares"
            if is_shared
            else f"{commands.name} also holds"
        )
        remedy = commands.stop_sharing if is_shared else commands.delete_secret
        raise UnmetError(
            f"The AWS key here is a lasting one, but {holder} an {SESSION_TOKEN}, left over from a temporary "
            "one: AWS refuses VMs that use both.",
            remedy(SESSION_TOKEN),
        )
    is_storable = credentials.kind is CredentialKind.STATIC or mode is SyncMode.ALWAYS
    found = credentials.secrets if is_storable else {}
    missing = [name for name in KEYS if name not in held.names and name not in found]
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


def require_reachable(local: LocalValues, held: HeldVariables, commands: GhCommands) -> str | None:
    """The address of the store for the VMs, None for AWS's own.

    Raises
    ------
    UnmetError
        the address that works here reaches no VM, and GitHub knows no other
    """
    here, there = local.variables.get(ENDPOINT), read_variable(held, ENDPOINT)
    if local.unreachable and not there:
        raise UnmetError(
            f"No VM of GitHub can reach {here}: {local.unreachable}. Use a store on the internet, or "
            f"tell {commands.name} by which address the internet knows this one.",
            commands.set_variable(ENDPOINT, "https://HOST", is_there=False),
        )
    return there or here


def variable_changes(
    local: LocalValues, held: HeldVariables, mode: SyncMode, commands: GhCommands
) -> VariableChanges:
    """Compare the variables that the VMs find with what is set here. What no VM could reach is not set there.

    Raises
    ------
    UnmetError
        the VMs would look into another bucket
    """
    values: dict[str, str] = {}
    notes: list[Note] = []
    for name, here in local.variables.items():
        there = read_variable(held, name)
        is_own = name in held.values.keys() - held.shared
        set_it = commands.set_variable(name, here, is_there=is_own)
        if there and there.rstrip("/") == here.rstrip("/"):
            continue
        if name == ENDPOINT and local.unreachable:
            notes.append(
                Note(f"{name} is {there or 'unset'} for the VMs, which cannot reach {here}.", "")
            )
        elif not there or mode is SyncMode.ALWAYS:
            values[name] = here
        elif name == ROOT:
            raise UnmetError(
                f"This run would work in {here}, its VMs in {there}: that is the variable {name} of "
                f"{commands.name}. Let both be the same, as there or as here.",
                f"export {name}={shlex.quote(there)}",
                f"# or: {set_it}",
            )
        else:
            notes.append(Note(f"{name} is {there} for the VMs and {here} here.", set_it))
    elsewhere = read_variable(held, ENDPOINT)
    if elsewhere and ENDPOINT not in local.variables:
        export = f"export {ENDPOINT}={shlex.quote(elsewhere)}"
        notes.append(Note(f"{ENDPOINT} is {elsewhere} for the VMs and not set here.", export))
    return VariableChanges(values, tuple(notes))


def read_variable(held: HeldVariables, name: str) -> str | None:
    """What a VM takes this variable to be; None when it is missing or empty."""
    return held.values.get(name) or held.values.get(ALSO_READ.get(name, "")) or None
