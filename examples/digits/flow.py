"""Which classifier reads handwritten digits best? One task per setting, then a card with the comparison.

python examples/digits/flow.py run --with=gha
python examples/digits/flow.py card view choose
"""

import time

from metaflow import FlowSpec, Parameter, card, current, step

SETTINGS = [
    {"model": "nearest neighbours", "neighbours": 1},
    {"model": "nearest neighbours", "neighbours": 3},
    {"model": "nearest neighbours", "neighbours": 15},
    {"model": "support vectors", "gamma": 0.0005},
    {"model": "support vectors", "gamma": 0.001},
    {"model": "support vectors", "gamma": 0.01},
]


def classifier(setting):
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    if setting["model"] == "nearest neighbours":
        return KNeighborsClassifier(n_neighbors=setting["neighbours"])
    return SVC(gamma=setting["gamma"])


def words(setting):
    detail = ", ".join(f"{name} = {value}" for name, value in setting.items() if name != "model")
    return f"{setting['model']}, {detail}"


class DigitsFlow(FlowSpec):
    folds = Parameter("folds", help="Cross-validation folds.", default=5)

    @step
    def start(self):
        self.settings = SETTINGS
        self.next(self.train, foreach="settings")

    @step
    def train(self):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import cross_val_score

        digits = load_digits()
        self.setting = self.input
        began = time.monotonic()
        scores = cross_val_score(
            classifier(self.setting), digits.data, digits.target, cv=self.folds
        )
        self.seconds = time.monotonic() - began
        self.accuracy = float(scores.mean())
        self.spread = float(scores.std())
        print(f"{words(self.setting)}: {self.accuracy:.4f} in {self.seconds:.1f} s")
        self.next(self.choose)

    @card
    @step
    def choose(self, inputs):
        from metaflow.cards import Markdown, Table, VegaChart

        self.ranking = sorted(
            (
                {
                    "setting": words(task.setting),
                    "accuracy": task.accuracy,
                    "spread": task.spread,
                    "seconds": task.seconds,
                }
                for task in inputs
            ),
            key=lambda row: row["accuracy"],
            reverse=True,
        )
        self.best = self.ranking[0]
        current.card.append(Markdown("# Which classifier reads handwritten digits best?"))
        current.card.append(
            Markdown(
                f"**{self.best['setting']}**, right in {self.best['accuracy']:.2%} of the cases."
            )
        )
        current.card.append(VegaChart(chart(self.ranking)))
        current.card.append(
            Table(
                [
                    [
                        row["setting"],
                        f"{row['accuracy']:.4f}",
                        f"{row['spread']:.4f}",
                        f"{row['seconds']:.1f}",
                    ]
                    for row in self.ranking
                ],
                headers=["Setting", "Accuracy", "Spread over the folds", "Seconds"],
            )
        )
        self.next(self.end)

    @step
    def end(self):
        print(f"Best: {self.best['setting']}, accuracy {self.best['accuracy']:.4f}")


def chart(ranking):
    return {
        "data": {"values": ranking},
        "mark": "bar",
        "encoding": {
            "x": {
                "field": "accuracy",
                "type": "quantitative",
                "scale": {"domain": [0.6, 1.0], "clamp": True},
                "title": "accuracy",
            },
            "y": {
                "field": "setting",
                "type": "nominal",
                "sort": "-x",
                "title": None,
                "axis": {"labelLimit": 300},
            },
        },
        "width": 480,
    }


if __name__ == "__main__":
    DigitsFlow()
