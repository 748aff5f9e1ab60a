"""`python -m gha_dispatch.testing CONFIG`: the stand-in as a process.

CONFIG is a JSON file with the fields of StandInConfig, or `-` for stdin. One JSON line on stdout
says that it is ready, with the `environment` to set, the variables to have `cleared` and the
`token` of the login. SIGTERM and SIGINT end it. Exit code 2 and a line on stderr: it did not start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from gha_dispatch import DispatchError
from gha_dispatch.testing._config import StandInConfig
from gha_dispatch.testing._stand_in import GitHubStandIn

USAGE = 2


def main(arguments: list[str]) -> int:
    """Serve until a signal comes."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gha_dispatch.testing CONFIG.json|-\n")
        return USAGE
    # handlers, not a blocked mask: act would inherit the latter and never hear a cancel
    # and a pipe, not an Event: its `set` may need the lock that the interrupted `wait` holds
    reader, writer = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"x"))
    try:
        with GitHubStandIn(_read(arguments[0])) as stand_in:
            ready = {
                "environment": stand_in.environment,
                "cleared": stand_in.cleared,
                "token": stand_in.token,
            }
            # not through a buffer, which Python would try to write again at its end
            os.write(sys.stdout.fileno(), f"{json.dumps(ready)}\n".encode())
            os.read(reader, 1)
    except (DispatchError, OSError, TypeError, ValueError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return USAGE
    return 0


def _read(source: str) -> StandInConfig:
    text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    return StandInConfig.from_json(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
