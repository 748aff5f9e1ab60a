"""A step that imports what requirements.txt names."""

from metaflow import FlowSpec, step


class NeedingFlow(FlowSpec):
    @step
    def start(self):
        import six

        self.version = six.__version__
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    NeedingFlow()
