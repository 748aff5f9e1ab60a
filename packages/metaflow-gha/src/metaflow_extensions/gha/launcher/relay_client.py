"""What the scheduler starts for each task: hands its words to the launcher and plays back what it answers.

    python -I -S relay_client.py SOCKET FLOW.PY OPTIONS... gha step ARGUMENTS...

The launcher does the work in a thread of its own, so that a task costs neither the start of a Metaflow process nor its
memory. The answer is a row of frames: the stream (1 stdout, 2 stderr) and a length, or 0 and the exit code, in a line;
then as many bytes. When the launcher is gone, or this process is, the other side knows by the closed socket.
"""

import json
import socket
import sys

# Metaflow retries a task that ends so; without the launcher nobody will.
LAUNCHER_GONE = 1


def main(path: str, words: list[str]) -> int:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    stream = connection.makefile("rwb")
    stream.write(json.dumps(words).encode() + b"\n")
    stream.flush()
    outputs = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
    for header in stream:
        kind, number = map(int, header.split())
        if kind == 0:
            return number
        outputs[kind].write(stream.read(number))
        outputs[kind].flush()
    return LAUNCHER_GONE


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(LAUNCHER_GONE)
    except OSError as error:
        sys.exit(f"The launcher of this run does not answer: {error.strerror}.")
