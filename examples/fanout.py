"""One task per number, then a join: seven tasks in all.

python examples/fanout.py run --with=gha
"""

from metaflow import FlowSpec, Parameter, step


class FanoutFlow(FlowSpec):
    count = Parameter("count", help="How many tasks run side by side.", default=4)

    @step
    def start(self):
        self.numbers = list(range(self.count))
        self.next(self.square, foreach="numbers")

    @step
    def square(self):
        self.number = self.input
        self.result = self.number**2
        print(f"{self.number} squared is {self.result}")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.results = sorted(task.result for task in inputs)
        self.total = sum(self.results)
        self.next(self.end)

    @step
    def end(self):
        print(f"The squares {self.results} add up to {self.total}.")


if __name__ == "__main__":
    FanoutFlow()
