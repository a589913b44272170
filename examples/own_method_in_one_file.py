# %% [markdown]
# # An own method in one file
#
# A method decides which weights are pruned and where weights grow. The rest (compiled programs, slots of the
# optimizer, the budget) is the library's. This notebook writes a method, tests it against SET and a static mask, and
# logs what it does.
#
# It needs scikit-learn, and takes about a minute on two CPU cores.

# %%
import dataclasses
from typing import ClassVar

import keras
import numpy as np
from keras import ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dsr as dsr
from keras_dsr.methods import Decision, Method, drop_smallest, grow_at_random, taken_in_each

# %% [markdown]
# ## The method
#
# SET replaces the same fraction of the smallest weights at each update. This one replaces many at first and few
# later: the fraction falls along a cosine to zero, at `end_step`.
#
# `update` is compiled. It uses `keras.ops`, and no Python `if` on a tensor. `conserves = True` is a promise: the
# library raises an error if an update changes the number of weights.


# %%
@dataclasses.dataclass(frozen=True)
class FadingSET(Method):
    """SET whose fraction falls along a cosine, from `fraction` to 0 at `end_step`."""

    fraction: float = 0.3
    end_step: int = 1000

    conserves: ClassVar[bool] = True

    def __post_init__(self):
        if not 0 < self.fraction < 1:
            raise ValueError(f"FadingSET(fraction=...) must be between 0 and 1. Received: fraction={self.fraction!r}")

    def init(self, inputs):
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs, state):
        done = ops.minimum(ops.cast(inputs.step, "float32") / self.end_step, 1.0)
        fraction = self.fraction * 0.5 * (1 + ops.cos(np.pi * done))
        dropped = drop_smallest(inputs, fraction)
        kept, counts = inputs.active & ~dropped, inputs.count(dropped)
        grown = grow_at_random(inputs, taken_in_each(inputs, kept, counts), counts, "fading_set.grow", kept)
        return Decision(kept, grown), {"pruned": ops.sum(counts)}


# %% [markdown]
# ## Train with it
#
# `state["pruned"]` is a name that `Reallocate` knows: the logs of each epoch have it as `dsr_pruned`.

# %%
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x.astype("float32") / 16, y, test_size=0.25, random_state=0, stratify=y)
EPOCHS, STEPS = 20, len(x) // 64 + 1


def trained(method: Method, seed: int) -> tuple[float, dict]:
    """Test accuracy after training under the method, and the logs."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((64,))]
    for number, units in enumerate((300, 100)):
        layers += [dsr.SparseDense(units, sparsity=0.98, mask_seed=10 * seed + number)]
        layers += [keras.layers.BatchNormalization(), keras.layers.ReLU()]
    model = keras.Sequential([*layers, dsr.SparseDense(10, sparsity=0.9, mask_seed=10 * seed + 2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    before = [weight.count() for weight in dsr.sparse_weights(model)]
    callback = dsr.Reallocate(method, period=10, seed=seed)
    history = model.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[callback])
    assert [weight.count() for weight in dsr.sparse_weights(model)] == before
    return model.evaluate(x_test, y_test, verbose=0)[1], history.history


_, logs = trained(FadingSET(end_step=EPOCHS * STEPS), seed=0)
print("moved in each epoch:", logs["dsr_pruned"])

# %% [markdown]
# ## Against the others
#
# Three seeds each. With a budget of so few weights a single seed says little.

# %%
methods = {
    "static mask": dsr.methods.Static(),
    "SET": dsr.methods.SET(fraction=0.3),
    "FadingSET": FadingSET(fraction=0.3, end_step=EPOCHS * STEPS),
}
for name, method in methods.items():
    scores = [100 * trained(method, seed)[0] for seed in (0, 1, 2)]
    print(f"{name:12} {np.mean(scores):.1f} %", " ".join(f"{score:.1f}" for score in scores))

# %% [markdown]
# ## A wrong argument
#
# It fails when the method is made, and not in the middle of a training.

# %%
try:
    FadingSET(fraction=30)
except ValueError as error:
    print(error)
