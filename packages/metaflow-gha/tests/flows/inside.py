"""What a step finds on its VM: the client, a card, its environment, nothing of the launcher's secrets."""

import os

from metaflow import FlowSpec, Task, card, current, environment, resources, step


class InsideFlow(FlowSpec):
    @environment(vars={"GREETING": 'it\'s "quoted" $HOME'})
    @resources(cpu="0.5", memory=500.0)
    @card
    @step
    def start(self):
        from metaflow.cards import Markdown

        current.card.append(Markdown("# A card made on the VM"))
        self.seen = Task(current.pathspec).pathspec
        self.greeting = os.environ["GREETING"]
        self.share = [os.environ["GHA_WORKER_CORES"], os.environ["GHA_WORKER_MEMORY_MB"]]
        self.names = sorted(os.environ)
        self.files = sorted(os.listdir("."))
        print("PRINTED-BY-THE-STEP")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    InsideFlow()
