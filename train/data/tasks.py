"""What a network is asked to do with the examples of a data set, and the figure by which it is judged."""

import dataclasses
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        loss: makes the loss that training reduces.
        score: name of the figure by which a network is judged, such as `"accuracy"`.
        best: `"max"` or `"min"`, whether a higher or a lower score is better.
        metrics: makes the metrics to compile with. One of them is the score, unless `measure` gives it.
        measure: from a model to its score on the test set, for one that no metric can give: it needs decoding. None:
            the score is a metric.
    """

    loss: Callable[[], keras.losses.Loss]
    score: str
    best: str
    metrics: Callable[[], list]
    measure: Callable[[keras.Model], float] | None = None


def classification(classes: int) -> Task:
    """Give the class of each example, as logits: judged by the share that is right."""

    def metrics():
        top5 = [keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5_accuracy")] if classes >= 100 else []
        return ["accuracy", *top5]

    return Task(lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy", "max", metrics)
