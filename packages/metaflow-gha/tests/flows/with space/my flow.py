"""Odd names and a step that leaves its directory."""

import os

from metaflow import FlowSpec, Parameter, step


class OddFlow(FlowSpec):
    words = Parameter("words", help="Any text.", default="")

    @step
    def start(self):
        os.chdir("/")
        self.seen = self.words
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    OddFlow()
