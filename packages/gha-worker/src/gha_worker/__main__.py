"""The command line: ``gha-worker run`` and ``gha-worker submit``."""

from __future__ import annotations

import click

from gha_worker._command_line.run import run
from gha_worker._command_line.submit import submit


@click.group()
@click.version_option(package_name="gha-worker")
def main() -> None:
    """Run commands as jobs of a gha-queue, on this machine or on any number of them."""


main.add_command(run)
main.add_command(submit)


if __name__ == "__main__":
    main()
