"""The smallest flow: three steps in a row.

python examples/hello.py run --with=gha
"""

import platform

from metaflow import FlowSpec, Parameter, step


class HelloFlow(FlowSpec):
    who = Parameter("who", help="Who is greeted.", default="world")

    @step
    def start(self):
        self.greeting = f"Hello, {self.who}!"
        self.next(self.greet)

    @step
    def greet(self):
        print(self.greeting)
        self.machine = platform.platform()
        self.next(self.end)

    @step
    def end(self):
        print(f"The greeting came from {self.machine}.")


if __name__ == "__main__":
    HelloFlow()
