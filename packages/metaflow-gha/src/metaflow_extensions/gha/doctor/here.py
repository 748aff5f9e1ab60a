"""The checks that ask this machine alone: Python, packages, settings, credentials."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING

from metaflow_extensions.gha.doctor.checks import Found, Question
from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.prerequisites.credentials import (
    CredentialKind,
    Credentials,
    ask_for_keys,
    local_credentials,
)
from metaflow_extensions.gha.prerequisites.gh_commands import version_of
from metaflow_extensions.gha.prerequisites.repository_values import SyncMode
from metaflow_extensions.gha.prerequisites.required_settings import (
    ROOT_EXAMPLE,
    require_root,
    require_s3,
)
from metaflow_extensions.gha.settings import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable

    from metaflow_extensions.gha.settings import Settings


class Here:
    """What this machine has. `root_there` tells which datastore the VMs use, where that is known."""

    def __init__(self, settings: Settings, root_there: Callable[[], str | None]) -> None:
        self._settings = settings
        self._root_there = root_there
        self.python = Question("python", _python)
        self.metaflow = Question("metaflow", _metaflow)
        self.uv = Question("uv", _uv)
        self.datastore = Question("datastore", self._datastore)
        self.credentials = Question("credentials", self._credentials)

    def _datastore(self) -> Found[str]:
        """The value is the datastore's root."""
        settings = self._settings
        rules: list[Callable[[], object]] = [
            lambda: require_s3(settings.datastore),
            lambda: require_root(settings),
        ]
        wrong = [error for error in map(_broken, rules) if error is not None]
        if not wrong:
            root = require_root(settings)
            return Found(root, f"s3, {root}")
        remedy = [line for error in wrong for line in error.remedy]
        there = self._root_there() or ROOT_EXAMPLE
        raise UnmetError(
            " ".join(error.found for error in wrong),
            *(line.replace(ROOT_EXAMPLE, there) for line in remedy),
        )

    def _credentials(self) -> Found[Credentials]:
        # Those that a run would store, it must be able to get.
        always = self._settings.sync_secrets.strip().lower() == SyncMode.ALWAYS.value
        found = local_credentials(fetch_temporary=always)
        if found.kind is CredentialKind.NONE:
            raise UnmetError("There are no AWS credentials here.", ask_for_keys())
        if found.kind is CredentialKind.TEMPORARY:
            return Found(found, f"temporary, from {found.source}")
        return Found(found, f"a lasting key, from {found.source}")


def _broken(rule: Callable[[], object]) -> UnmetError | None:
    try:
        rule()
    except UnmetError as error:
        return error
    return None


def _python() -> Found[None]:
    return Found(None, f"{platform.python_version()}; the VMs run {PYTHON} too")


def _metaflow() -> Found[None]:
    version, own = metadata.version("metaflow"), metadata.version("metaflow-gha")
    required = " ".join(metadata.requires("metaflow-gha") or ())
    oldest = re.search(r"\bmetaflow>=([\d.]+)", required)
    if oldest and version_of(version) < version_of(oldest[1]):
        raise UnmetError(
            f"metaflow {version} is too old for metaflow-gha {own}.",
            f"pip install --upgrade 'metaflow>={oldest[1]}'",
        )
    return Found(None, f"{version}, with metaflow-gha {own}")


def _uv() -> Found[None]:
    path = shutil.which("uv")
    if path is None:
        return Found(None, "none; not needed here, the VMs bring their own")
    answer = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    return Found(None, f"{path}, {answer.stdout.strip().removeprefix('uv ').partition(' ')[0]}")
