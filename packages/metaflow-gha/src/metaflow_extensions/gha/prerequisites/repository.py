"""Which repository's Actions run the VMs of a run started here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.checkout import checkout_root, git_answer
from metaflow_extensions.gha.errors import UnmetError

if TYPE_CHECKING:
    from gha_dispatch import Repository
    from metaflow_extensions.gha.settings import Settings

# Stands in a remedy for the account, which only GitHub can tell.
OWNER = "OWNER"


def require_repository(settings: Settings) -> Repository:
    """The one that METAFLOW_GHA_USER_REPO names, else that of the git remotes here. No request.

    Raises
    ------
    UnmetError
        there is none, or it is not clear which
    """
    from gha_dispatch import NoRepositoryError, Repository

    try:
        if settings.user_repo:
            return Repository.parse(settings.user_repo)
        return Repository.infer()
    except NoRepositoryError as error:
        remedy = ("unset METAFLOW_GHA_USER_REPO",) if settings.user_repo else _way_to_a_remote()
        raise UnmetError(str(error), *remedy) from None


def _way_to_a_remote() -> tuple[str, ...]:
    from gha_dispatch import Repository

    root = checkout_root(Path.cwd())
    if root is not None and (git_answer(root, "remote") or "").strip():
        return ("gh repo set-default",)
    guess = Repository.parse(f"{OWNER}/{(root or Path.cwd()).name.replace(' ', '-')}")
    remote = f"git remote add origin {guess.url}.git"
    instead = f"# or: export METAFLOW_GHA_USER_REPO={guess.owner}/{guess.name}"
    return (*(() if root else ("git init",)), remote, instead)
