"""The fan-out of the examples with @gha in the code."""

from metaflow import FlowSpec, gha, step


class DecoratedFlow(FlowSpec):
    @gha(workers=10, timeout=3600, max_retries=1)
    @step
    def start(self):
        self.numbers = list(range(4))
        self.next(self.square, foreach="numbers")

    @gha(workers=10, timeout=3600, max_retries=1)
    @step
    def square(self):
        self.number = self.input
        self.result = self.number**2
        self.next(self.join)

    @gha(workers=10, timeout=3600, max_retries=1)
    @step
    def join(self, inputs):
        self.results = sorted(task.result for task in inputs)
        self.total = sum(self.results)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    DecoratedFlow()
