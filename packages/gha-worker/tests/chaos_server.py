"""A persistent server that runs the script of each job in bash, and says so in its environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess


def main() -> None:
    with (
        os.fdopen(int(os.environ["GHA_WORKER_REQUESTS"])) as requests,
        os.fdopen(int(os.environ["GHA_WORKER_RESPONSES"]), "w", buffering=1) as responses,
    ):
        for line in requests:
            request = json.loads(line)
            print(json.dumps({"id": request["id"], "started": True}), file=responses)
            with open(request["output"], "ab") as output:  # noqa: PTH123  # pathlib starts slowly
                code = subprocess.run(
                    ["bash", request["script"]],
                    env={**request["env"], "RUN_BY": "server"},
                    cwd=request["directory"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                ).returncode
            end = {"exit_code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
            print(json.dumps({"id": request["id"], **end}), file=responses)


if __name__ == "__main__":
    main()
