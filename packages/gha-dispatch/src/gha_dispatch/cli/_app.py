"""The commands together, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gha_dispatch._errors import DispatchError
from gha_dispatch.cli import _runs, _settings, _whoami
from gha_dispatch.cli._exits import MEANINGS, Exit, exit_for
from gha_dispatch.cli._output import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

_EXIT_CODES = "Exit codes:\n\n\b\n" + "\n".join(
    f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()
)


class _Commands(click.Group):
    """A group whose commands return their exit code, errors included."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        try:
            with _closed_pipe():
                code = super().invoke(ctx)
        except DispatchError as error:
            say(str(error))
            return exit_for(error)
        return Exit.OK if code is None else code

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:  # noqa: ANN401
        with _closed_pipe():  # --help prints while the arguments are read
            return super().make_context(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        return list(self.commands)  # as they are told below


@contextlib.contextmanager
def _closed_pipe() -> Iterator[None]:
    """Let click, which would exit with 1 then, see no BrokenPipeError."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(_unwritten(error)) from error


def _unwritten(error: OSError) -> Exit:
    if sys.stdout is not None:  # Python flushes it once more when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return Exit.PIPE_CLOSED
    say(f"this machine fails: {error}: mend that, then look with `status` what was done.")
    return Exit.MACHINE


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
    if isinstance(sys.stdout, io.TextIOWrapper):  # it is None where the shell closed it: >&-
        sys.stdout.reconfigure(errors="backslashreplace")
    code: int
    try:
        code = app.main(prog_name="gha-dispatch", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = Exit.INTERRUPTED
    except OSError as error:
        code = _unwritten(error)
    sys.exit(int(code))
