"""What mends a refusal of gh or GitHub, as commands."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from metaflow_extensions.gha.errors import UnmetError

if TYPE_CHECKING:
    from gha_dispatch import DispatchError

# How each package manager installs gh: https://github.com/cli/cli#installation
INSTALL = {
    "brew": "brew install gh",
    "apt-get": "sudo apt-get install gh",
    "dnf": "sudo dnf install gh",
    "pacman": "sudo pacman --sync github-cli",
    "apk": "sudo apk add github-cli",
    "conda": "conda install --channel conda-forge gh",
}


def unmet(error: DispatchError) -> UnmetError:
    """The same words, and the command that mends it where there is one."""
    from gha_dispatch import (
        GhNotFoundError,
        GhTooOldError,
        NotAuthenticatedError,
        PermissionDeniedError,
        SingleSignOnError,
    )

    remedy: tuple[str, ...] = ()
    if isinstance(error, GhNotFoundError | GhTooOldError):
        remedy = (install_gh(),)
    elif isinstance(error, NotAuthenticatedError):
        unset = (f"unset {error.variable}",) if error.variable else ()
        remedy = (*unset, f"gh auth login --hostname {error.host} --scopes workflow")
    elif isinstance(error, SingleSignOnError):
        remedy = (f"gh auth refresh --hostname {error.host}",) if error.url is None else ()
    elif isinstance(error, PermissionDeniedError) and "=" not in "".join(error.missing):
        remedy = tuple(f"gh auth refresh --scopes {scope}" for scope in error.missing[:1])
    return UnmetError(str(error), *remedy)


def install_gh() -> str:
    """The command by which this machine installs gh."""
    for manager, command in INSTALL.items():
        if shutil.which(manager):
            return command.removeprefix("sudo ") if os.geteuid() == 0 else command
    return "conda install --channel conda-forge gh"
