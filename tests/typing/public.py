"""A program of a user with types, which mypy checks against the library's own; it is not run."""

import dataclasses
from typing import ClassVar

import keras

import keras_dsr as dsr
from keras_dsr.methods import Decision, Method, MethodInputs, grow_at_random, smallest_active


@dataclasses.dataclass(frozen=True)
class SwapOne(Method):
    conserves: ClassVar[bool] = True

    def init(self, inputs: MethodInputs) -> dict:
        return {}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        one = keras.ops.ones((len(inputs.names),), "int32")
        kept = inputs.active & ~smallest_active(inputs, one)
        return Decision(kept, grow_at_random(inputs, inputs.active, one, "swap")), state


def sparse_and_trained(model: keras.Model, x: object, y: object) -> list[int]:
    report = dsr.sparsify(model, 0.9, distribution={"head": 0.5}, exclude=[keras.layers.Embedding, "tail"], seed=1)
    active: int = sum(row.active for row in report.rows)
    model.fit(x, y, callbacks=[dsr.DSRCallback(target=0.1, period=[(0, 100)]), dsr.Reallocate(SwapOne(), period=5)])
    model.compile(dsr.SparseOptimizer("adam", sparsity=0.9, select=keras.layers.Dense), "mse")
    model.fit(x, y, callbacks=[dsr.DSDCallback(0.3, dense_epochs=3, sparse_epochs=2, exclude="head")])
    dsr.save(model, "model.keras")
    dsr.report(model, "report.html", masks=["head"])
    return [active, *(weight.count() for weight in dsr.sparse_weights(model))]
