"""The AWS credentials that a run uses on this machine, and whether they may lie on GitHub."""

from __future__ import annotations

import enum
import os
import shlex
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaflow_extensions.gha.errors import UnmetError

if TYPE_CHECKING:
    from collections.abc import Mapping

# botocore's names for where credentials come from, in the words of a user.
SOURCES = {
    "env": "environment variables",
    "explicit": "environment variables",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS configuration file",
    "boto-config": "the boto configuration file",
    "ec2-credentials-file": "the credentials file",
    "custom-process": "a credential process",
    "sso": "single sign-on",
    "login": "`aws login`",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "a web identity",
    "iam-role": "the role of this machine",
    "container-role": "the role of this container",
}


class CredentialKind(enum.Enum):
    """How long credentials are good for."""

    NONE = "none"
    STATIC = "static"
    TEMPORARY = "temporary"


@dataclass(frozen=True)
class Credentials:
    """What boto3 would sign with here. `secrets` has the names that GitHub holds them by."""

    kind: CredentialKind
    source: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def local_credentials(*, fetch_temporary: bool = False) -> Credentials:
    """Look where boto3 looks, in its order.

    Temporary credentials are made only with `fetch_temporary`: that takes requests to AWS. Asking a machine for
    its role takes up to a second where there is none.

    Raises
    ------
    UnmetError
        a profile that does not exist, half a key, an expired sign-on
    """
    import boto3
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = boto3.session.Session().get_credentials()
        if found is None:
            return Credentials(CredentialKind.NONE)
        source = SOURCES.get(found.method, found.method)
        is_temporary = isinstance(found, RefreshableCredentials) or bool(found.token)
        if is_temporary and not fetch_temporary:
            return Credentials(CredentialKind.TEMPORARY, source)
        keys = found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        raise UnmetError(f"No AWS credentials can be read here: {error}", *_remedy(error)) from None
    secrets = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        **({"AWS_SESSION_TOKEN": keys.token} if keys.token else {}),
    }
    kind = CredentialKind.TEMPORARY if is_temporary else CredentialKind.STATIC
    return Credentials(kind, source, secrets)


def ask_for_keys() -> str:
    """The command that gives this machine a key."""
    if shutil.which("aws"):
        return "aws configure"
    return "export AWS_ACCESS_KEY_ID=ID AWS_SECRET_ACCESS_KEY=KEY"


def _remedy(error: Exception) -> tuple[str, ...]:
    from botocore.exceptions import (
        PartialCredentialsError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
    )

    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    if isinstance(error, ProfileNotFound):
        return ("unset AWS_PROFILE AWS_DEFAULT_PROFILE",)
    if isinstance(error, PartialCredentialsError) and error.kwargs["provider"] == "env":
        return (f"export {error.kwargs['cred_var']}=KEY",)
    if isinstance(error, SSOError | TokenRetrievalError):
        return ("aws sso login" + (f" --profile {shlex.quote(profile)}" if profile else ""),)
    return (ask_for_keys(),)
