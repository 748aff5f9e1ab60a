"""Git remotes of the stand-in's host: `git push` and `git fetch` reach directories on this machine.

Git itself turns every form of address into `ssh://git@HOST/owner/name`, which `gh` takes for what it
is, as it would not take a path; and what git starts instead of ssh runs git's other end right here.
https://git-scm.com/docs/git-config#Documentation/git-config.txt-urlbaseinsteadOf
https://git-scm.com/docs/git-config#Documentation/git-config.txt-GITCONFIGCOUNT
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.route import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gha_dispatch.testing._git.repository import GitRepository

COUNT, KEY, VALUE = "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_{}", "GIT_CONFIG_VALUE_{}"
SETTING = f"url.ssh://git@{HOST}/.insteadOf"
ADDRESSES = (f"http://{HOST}/", f"https://{HOST}/", f"git@{HOST}:")
# git gives the host and then its command, such as git-receive-pack '/owner/name.git'
SSH = """#!/bin/sh
for argument; do
  [ "$argument" != git@{host} ] || here=yes
  command=$argument
done
[ "$here" ] || exec ssh "$@"
eval "set -- $command"
exec git "${{1#git-}}" {folder}"$2"
"""


class Remotes:
    """The repositories of the host, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._repositories = folder / "repositories"
        self._ssh = folder / "ssh"

    def write(self, repositories: Iterable[GitRepository]) -> None:
        """Make the links `owner/name` and `owner/name.git`, and what git starts instead of ssh.

        Of several repositories with one name the first is linked.
        """
        for repository in repositories:
            for name in (repository.name, f"{repository.name}.git"):
                link = self._repositories / name
                link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(repository.directory.resolve(), target_is_directory=True)
        script = SSH.format(host=HOST, folder=shlex.quote(os.fspath(self._repositories)))
        self._ssh.write_text(script, "utf-8")
        self._ssh.chmod(0o700)

    def environment(self, present: Mapping[str, str]) -> dict[str, str]:
        """The variables that lead git to them; the settings of this kind in `present` come after."""
        settings = [(SETTING, address) for address in ADDRESSES]
        count = present.get(COUNT, "")
        for number in range(int(count) if count.isdigit() else 0):
            setting = (present.get(KEY.format(number), ""), present.get(VALUE.format(number), ""))
            if setting[0] and setting not in settings:
                settings.append(setting)
        variables = {
            "GIT_SSH_COMMAND": shlex.quote(os.fspath(self._ssh)),
            COUNT: str(len(settings)),
        }
        for number, (name, value) in enumerate(settings):
            variables |= {KEY.format(number): name, VALUE.format(number): value}
        return variables
