# %% [markdown]
# # One script on TensorFlow, JAX and torch
#
# Keras takes its backend from `KERAS_BACKEND`, before Python starts. This notebook writes one script, runs it under
# each backend that is installed, and loads the file of each in this process.
#
# It needs scikit-learn, and takes little more than a minute on two CPU cores.

# %%
import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
from sklearn.datasets import load_digits

import keras_dsr as dsr

script = """
import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dsr as dsr

x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x.astype("float32") / 16, y, test_size=0.25, random_state=0, stratify=y)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((64,)),
        dsr.SparseDense(300, sparsity=0.95, activation="relu", mask_seed=1),
        dsr.SparseDense(100, sparsity=0.95, activation="relu", mask_seed=2),
        dsr.SparseDense(10, sparsity=0.5, mask_seed=3),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
history = model.fit(x, y, epochs=15, verbose=0, callbacks=[dsr.DSRCallback(target=0.1, period=20)])

name = keras.backend.backend()
counts = [weight.count() for weight in dsr.sparse_weights(model)]
print(f"{name:10} {counts} = {sum(counts)} weights, test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.1%}")
model.save(f"{name}.keras")
"""
_ = pathlib.Path("train_digits.py").write_text(script)

# %% [markdown]
# ## Run it
#
# On a command line: `KERAS_BACKEND=jax python train_digits.py`. The masks of the first step are the same on each
# backend, as they are drawn from `mask_seed` alone. Rounding parts the trainings later. The total is the same integer
# on all three.

# %%
backends = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
for name in backends:
    environment = {**os.environ, "KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, "train_digits.py"], env=environment, capture_output=True, text=True)
    print(done.stdout.strip() if done.returncode == 0 else done.stderr)
    done.check_returncode()

# %% [markdown]
# ## Files go from one backend to another
#
# `model.save` stores masks too. `import keras_dsr` lets Keras find the classes in the file.

# %%
x, y = load_digits(return_X_y=True)
for name in backends:
    model = keras.models.load_model(f"{name}.keras")
    score = model.evaluate(x.astype("float32") / 16, y, verbose=0)[1]
    print(f"written by {name}, read by {keras.backend.backend()}: {score:.1%} on all digits;", end=" ")
    print(f"{sum(weight.count() for weight in dsr.sparse_weights(model))} weights")

# %% [markdown]
# ## What differs
#
# Packed SavedModels (`dsr.export(model, "folder")`) need TensorFlow. Training loops are written differently on each:
# the page "Own training loop" of the documentation has one for each backend.
