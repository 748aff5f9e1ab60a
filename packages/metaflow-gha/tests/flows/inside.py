"""What a step finds on its VM: the client, a card, its environment, nothing of the launcher's secrets."""

import os

from metaflow import FlowSpec, Task, card, current, environment, step


class InsideFlow(FlowSpec):
    @environment(vars={"GREETING": 'it\'s "quoted" $HOME'})
    @card
    @step
    def start(self):
        from metaflow.cards import Markdown

        current.card.append(Markdown("# A card made on the VM"))
        self.seen = Task(current.pathspec).pathspec
        self.greeting = os.environ["GREETING"]
        self.names = sorted(os.environ)
        self.files = sorted(os.listdir("."))
        print("PRINTED-BY-THE-STEP")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    InsideFlow()
