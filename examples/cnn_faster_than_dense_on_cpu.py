# %% [markdown]
# # A CNN that trains faster sparse than dense on a CPU
#
# In masked storage, the default, a sparse layer multiplies its zeros too, and takes as long as a dense one.
# `storage="compact"` stores, multiplies and updates only the weights that are not zero. This notebook times a
# training step of the same network dense, masked and compact.
#
# Compact storage needs numba (`pip install "keras-dsr[fast]"`) and a CPU. The first step on a machine compiles its
# loops, about 20 seconds. All in all it takes about a minute and a half on two cores.

# %%
import importlib.util
import statistics
import time

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dsr as dsr

if importlib.util.find_spec("numba") is None:
    raise SystemExit('compact convolutions are fast only with numba: pip install "keras-dsr[fast]"')

x, y = load_digits(return_X_y=True)
x = np.kron(x.reshape(-1, 8, 8), np.ones((2, 2)))[..., np.newaxis].astype("float32") / 16  # 16 x 16 pixels
x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)

# %% [markdown]
# ## One network, three kinds
#
# Three convolutions, of which the two large ones are sparse at 0.95. The first convolution has few weights and stays
# dense, as does the layer of the classes.

# %%
SPARSITY, BATCH = 0.95, 32


def network(storage: str | None) -> keras.Model:
    """Dense where `storage` is None."""
    keras.utils.set_random_seed(0)
    size = {"padding": "same", "use_bias": False}

    def convolution(filters: int):
        if storage is None:
            return keras.layers.Conv2D(filters, 3, **size)
        return dsr.SparseConv2D(filters, 3, sparsity=SPARSITY, storage=storage, **size)

    def normalization():
        return keras.layers.BatchNormalization(momentum=0.9)

    layers = [keras.Input((16, 16, 1)), keras.layers.Conv2D(128, 3, **size)]
    for _ in range(2):
        layers += [normalization(), keras.layers.ReLU(), convolution(256)]
    layers += [normalization(), keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return model


models = {"dense": network(None), "masked": network("masked"), "compact": network("compact")}
for model in models.values():
    model.fit(x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0)  # compiles
print(dsr.summary(models["compact"]))

# %% [markdown]
# ## Step times
#
# The speed of a machine drifts, so the three take turns, and the ratios are those of one round.

# %%
STEPS, ROUNDS = 4, 5
seconds: dict[str, list[float]] = {name: [] for name in models}
for _ in range(ROUNDS):
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(x[: BATCH * STEPS], y[: BATCH * STEPS], batch_size=BATCH, verbose=0)
        seconds[name].append((time.perf_counter() - start) / STEPS)

for name, each in seconds.items():
    ratios = [dense / own for dense, own in zip(seconds["dense"], each)]
    print(
        f"{name:8} {1000 * statistics.median(each):6.0f} ms a step, {statistics.median(ratios):.2f} times as fast as "
        f"dense ({min(ratios):.2f} to {max(ratios):.2f})"
    )

# %% [markdown]
# ## It trains like any other
#
# Weights move in compact storage too, and the file is plain Keras.

# %%
model = network("compact")
model.fit(x, y, batch_size=BATCH, epochs=4, verbose=0, callbacks=[dsr.DSRCallback(target=0.1, period=10)])
print(f"test accuracy after 4 epochs: {model.evaluate(x_test, y_test, verbose=0)[1]:.1%}")
dsr.save(model, "sparse.keras")
print(type(keras.models.load_model("sparse.keras").layers[3]).__name__)

# %% [markdown]
# ## When it pays
#
# At high sparsity (about 0.9 and more), in layers with many channels, on a CPU. `storage="auto"` times each layer and
# takes compact storage where it is faster: `dsr.sparsify(model, sparsity=0.95, storage="auto", batch_size=32)`. On a
# GPU take masked storage.
#
# The ratio depends on the network and on the machine: the page "Truly sparse training" of the documentation has 1.1 to
# 3.4 for WRN-28-2 at 0.95.
