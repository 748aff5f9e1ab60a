"""The commands together, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gha_dispatch._errors import DispatchError
from gha_dispatch.cli import _runs, _settings, _whoami
from gha_dispatch.cli._exits import MEANINGS, Exit, exit_for
from gha_dispatch.cli._output import say

if TYPE_CHECKING:
    from typing import NoReturn

_EXIT_CODES = "Exit codes:\n\n\b\n" + "\n".join(
    f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()
)


class _Commands(click.Group):
    """A group whose commands return their exit code, errors included."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        try:
            code = super().invoke(ctx)
        except DispatchError as error:
            say(str(error))
            return exit_for(error)
        return Exit.OK if code is None else code

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        return list(self.commands)  # as they are told below


@click.group(
    cls=_Commands,
    epilog=_EXIT_CODES,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="gha-dispatch")
def app() -> None:
    """Start GitHub workflows, watch their runs, set secrets and variables, through your own gh.

    The repository is that of the git remotes here, or -R OWNER/NAME, or the variable GH_REPO.
    Lists are columns on a terminal and tab-separated lines anywhere else. With --json every line
    is one JSON document.
    """


for _command in (
    _runs.run,
    _runs.status,
    _runs.cancel,
    _settings.secrets,
    _settings.variables,
    _whoami.whoami,
):
    app.add_command(_command)


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    code: int
    try:
        code = app.main(prog_name="gha-dispatch", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed once more at exit
        code = Exit.PIPE_CLOSED
    sys.exit(int(code))
