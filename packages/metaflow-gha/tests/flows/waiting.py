"""A task that tells its process and waits for a file, so that a test can act in its middle."""

import os
import time

from metaflow import FlowSpec, Parameter, current, step


class WaitingFlow(FlowSpec):
    folder = Parameter(
        "folder", help="Where the task says its process and looks for the file `go`."
    )
    count = Parameter("count", help="How many tasks wait side by side.", default=1)

    @step
    def start(self):
        self.numbers = list(range(self.count))
        self.next(self.work, foreach="numbers")

    @step
    def work(self):
        self.attempt = current.retry_count
        name = f"{self.input}.{current.retry_count}"
        # Written whole before it is seen under its name.
        with open(os.path.join(self.folder, f".{name}"), "w") as file:
            file.write(f"{os.getpid()} {os.environ.get('GHA_WORKER_NAME', '')}")
        os.rename(os.path.join(self.folder, f".{name}"), os.path.join(self.folder, name))
        while not os.path.exists(os.path.join(self.folder, "go")):
            time.sleep(0.1)
        self.next(self.join)

    @step
    def join(self, inputs):
        self.attempts = [task.attempt for task in inputs]
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    WaitingFlow()
