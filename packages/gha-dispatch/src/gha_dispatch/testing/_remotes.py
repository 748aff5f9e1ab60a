"""Git remotes of the stand-in's host: its addresses mean directories on this machine.

Through git's own `url.<base>.insteadOf`, set by the variables GIT_CONFIG_COUNT, GIT_CONFIG_KEY_<n>
and GIT_CONFIG_VALUE_<n>: https://git-scm.com/docs/git-config#Documentation/git-config.txt-GITCONFIGCOUNT
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gha_dispatch.testing._route import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gha_dispatch.testing._git_repository import GitRepository

COUNT, KEY, VALUE = "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_{}", "GIT_CONFIG_VALUE_{}"
ADDRESSES = (
    f"http://{HOST}/",
    f"https://{HOST}/",
    f"ssh://git@{HOST}/",
    f"git@{HOST}:",
)


def link_remotes(folder: Path, repositories: Iterable[GitRepository]) -> None:
    """Make links `owner/name` and `owner/name.git` to the repositories' directories."""
    for repository in repositories:
        for name in (repository.name, f"{repository.name}.git"):
            link = folder / name
            link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            link.symlink_to(repository.directory.resolve(), target_is_directory=True)


def remote_variables(folder: Path, present: Mapping[str, str]) -> dict[str, str]:
    """The variables that lead git to the links, before the settings of this kind in `present`.

    Of those, what leads the same host elsewhere is left out.
    """
    key = f"url.{os.fspath(folder)}/.insteadOf"
    settings = [(key, address) for address in ADDRESSES]
    count = present.get(COUNT, "")
    for number in range(int(count) if count.isdigit() else 0):
        other = (present.get(KEY.format(number), ""), present.get(VALUE.format(number), ""))
        is_same_host = other[0].lower().endswith(".insteadof") and other[1] in ADDRESSES
        if other[0] and not is_same_host:
            settings.append(other)
    variables = {COUNT: str(len(settings))}
    for number, (name, value) in enumerate(settings):
        variables |= {KEY.format(number): name, VALUE.format(number): value}
    return variables
