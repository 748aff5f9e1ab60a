"""Two steps on VMs with a long local one between them."""

import time

from metaflow import FlowSpec, Parameter, gha, step


class GapFlow(FlowSpec):
    seconds = Parameter("seconds", help="How long the local step takes.", default=1.0)

    @gha
    @step
    def start(self):
        self.next(self.local)

    @step
    def local(self):
        time.sleep(self.seconds)
        self.next(self.remote)

    @gha
    @step
    def remote(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    GapFlow()
