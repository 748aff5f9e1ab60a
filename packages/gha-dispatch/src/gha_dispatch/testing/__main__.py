"""`python -m gha_dispatch.testing CONFIG`: the stand-in as a process.

CONFIG is a JSON file, or `-` for stdin. One JSON line on stdout says that it is ready, with the
`environment` to set and the variables to have `cleared`. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from gha_dispatch.testing._config import StandInConfig
from gha_dispatch.testing._stand_in import GitHubStandIn

USAGE = 2


def main(arguments: list[str]) -> int:
    """Serve until a signal comes."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gha_dispatch.testing CONFIG.json|-\n")
        return USAGE
    source = arguments[0]
    text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    # handlers, not a blocked mask: act would inherit the latter and never hear a cancel
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with GitHubStandIn(StandInConfig.from_json(text)) as stand_in:
        ready = {"environment": stand_in.environment, "cleared": stand_in.cleared}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
