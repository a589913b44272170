# %% [markdown]
# # Digits in five minutes
#
# A network of 50,200 weights for the digits of scikit-learn, trained dense, then with 1,004 weights that stay where
# they are, then with 1,004 weights that move (dynamic sparse reparameterization, DSR).
#
# It needs scikit-learn and matplotlib, and takes about half a minute on two CPU cores.

# %%
import os

import keras
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dsr as dsr

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x.astype("float32") / 16, y, test_size=0.25, random_state=0, stratify=y)
print(x.shape, x_test.shape)

# %% [markdown]
# ## The networks
#
# `SparseDense` is Keras's `Dense` with one more argument: `sparsity`, the fraction of weights that are zero. 0.98
# leaves one weight in fifty.


# %%
def network(dense: bool) -> keras.Model:
    """Two hidden layers with batch norm; `dense` says of which kind."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense if dense else lambda units: dsr.SparseDense(units, sparsity=0.98)
    layers = [keras.Input((64,))]
    for units in (300, 100):
        layers += [layer(units), keras.layers.BatchNormalization(), keras.layers.Activation("relu")]
    model = keras.Sequential([*layers, layer(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model


def train(model: keras.Model, callbacks=()) -> list[float]:
    """Trains, and returns the test accuracy after each epoch."""
    data = (x_test, y_test)
    history = model.fit(x, y, epochs=30, batch_size=64, verbose=0, validation_data=data, callbacks=list(callbacks))
    return history.history["val_accuracy"]


# %% [markdown]
# ## Three trainings
#
# The only difference between the second and the third is the callback. Every 10 steps it removes about a tenth of the
# weights, those closest to zero, and lets as many grow elsewhere. `stop_at` leaves the last epochs to the weights
# that have been found.

# %%
models = {"dense": network(dense=True), "static mask": network(dense=False), "DSR": network(dense=False)}
curves = {
    "dense": train(models["dense"]),
    "static mask": train(models["static mask"]),
    "DSR": train(models["DSR"], [dsr.DSRCallback(target=0.1, period=10, stop_at=25)]),
}
for name, curve in curves.items():
    print(f"{name:12} {curve[-1]:.1%}")

# %%
figure, axes = plt.subplots(figsize=(6, 3))
for (name, curve), color, dashes in zip(curves.items(), ("#1f2430", "#7a7a7a", "#0072b2"), ("--", ":", "-")):
    axes.plot(range(1, len(curve) + 1), curve, color=color, linestyle=dashes, label=name)
axes.set(xlabel="epoch", ylabel="test accuracy", ylim=(0, 1.02))
axes.legend()
plt.show()

# %% [markdown]
# ## What was found
#
# `summary` has a row for each sparse weight. All three began at a sparsity of 0.98; DSR has moved weights to the
# small layer of the classes. The total is the same integer as at the first step.

# %%
print(dsr.summary(models["DSR"]))

# %% [markdown]
# ## A small file
#
# `dsr.save` writes a plain Keras file: it loads without keras_dsr, and zeros take next to no space. It writes dense
# models too, so that the two sizes can be compared.

# %%
dsr.save(models["dense"], "dense.keras")
dsr.save(models["DSR"], "sparse.keras")
for path in ("dense.keras", "sparse.keras"):
    print(f"{path:13} {os.path.getsize(path):9,} bytes")

plain = keras.models.load_model("sparse.keras")
print(type(plain.layers[0]).__name__, f"{plain.evaluate(x_test, y_test, verbose=0)[1]:.1%}")
