"""The commands together, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gha_queue._errors import QueueError
from gha_queue.cli import _look, _put, _steer, _watch, _work
from gha_queue.cli._exits import MEANINGS, NO_ROOM, Exit, exit_for
from gha_queue.cli._output import say

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
        except QueueError as error:
            say(str(error))
            return exit_for(error)
        return Exit.OK if code is None else code

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:  # noqa: ANN401
        with _closed_pipe():  # --help prints while the arguments are read
            return super().make_context(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        return list(self.commands)  # as they are told below: from the first need to the rarest


@contextlib.contextmanager
def _closed_pipe() -> Iterator[None]:
    """Let click, which would exit with 1 then, see no BrokenPipeError."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(_failed(error)) from error


def _failed(error: OSError) -> Exit:
    if sys.stdout is not None:  # Python flushes it once more when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return Exit.PIPE_CLOSED
    remedy = "make room on it" if error.errno in NO_ROOM else "mend that"
    say(f"this machine fails: {error}: {remedy}, then run the command again")
    return Exit.MACHINE


@click.group(
    cls=_Commands,
    epilog=_EXIT_CODES,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="gha-queue")
def app() -> None:
    """A job queue in an S3 bucket, or in a directory.

    Every command takes the queue as -q URL or from the variable GHA_QUEUE_URL:
    s3://bucket/prefix, or file:///absolute/directory for the processes of one machine. Endpoint
    and credentials come from the AWS_ variables and files, as for boto3.

    Lists are tables on a terminal. Anywhere else they have one line per item, without a header,
    the columns separated by tabs, times in seconds. With --json every line is one JSON document:
    one line per item of a list, one line in all for anything else.
    """


for _command in (
    _put.put,
    _work.work,
    _look.wait,
    _look.ls,
    _look.get,
    _look.stats,
    _watch.watch,
    _look.dead,
    _steer.cancel,
    _steer.retry,
    _steer.redrive,
    _steer.reap,
    _steer.purge,
    _steer.pause,
    _steer.resume,
    _steer.close,
    _steer.drain,
    _steer.slots,
    _look.probe,
):
    app.add_command(_command)


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # it is None where the shell closed it: >&-
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app.main(prog_name="gha-queue", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = Exit.INTERRUPTED
    except OSError as error:
        code = _failed(error)
    sys.exit(int(code))
