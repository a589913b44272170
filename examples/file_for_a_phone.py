# %% [markdown]
# # A file for a phone
#
# LiteRT, the runtime of phones, can multiply dense layers whose weights are stored in blocks of 4 inputs x 1 output.
# Blocks are a choice to make before training: this notebook trains single weights and blocks, writes three LiteRT
# files, and times them.
#
# It needs scikit-learn and `ai-edge-litert` on the TensorFlow backend, and takes about half a minute on two CPU cores.
# The latencies are those of this machine's CPU, one thread, not of a phone.

# %%
import pathlib
import statistics
import time

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_dsr as dsr

x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x.astype("float32") / 16, y, test_size=0.25, random_state=0, stratify=y)

# %% [markdown]
# ## Train dense, single weights, and blocks
#
# The two hidden layers are sparse at 0.95; the layer of the classes is small, and stays dense.


# %%
def trained(pattern=None) -> keras.Model:
    """A trained network; dense where `pattern` is None."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(1024, "relu"),
        keras.layers.Dense(1024, "relu"),
        keras.layers.Dense(10, name="classes"),
    ]
    model = keras.Sequential([keras.Input((64,)), *layers])
    callbacks = []
    if pattern is not None:
        dsr.sparsify(model, sparsity=0.95, pattern=pattern, exclude="classes")
        callbacks = [dsr.DSRCallback(target=0.1, period=10, stop_at=12)]
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, batch_size=64, epochs=15, verbose=0, callbacks=callbacks)
    return model


models = {"dense": trained(), "single weights": trained("element"), "blocks 4 x 1": trained((4, 1))}

# %% [markdown]
# ## Write the files
#
# `export` times each layer in LiteRT's own interpreter, and stores it in the form that was fastest. The report says
# which.

# %%
paths = {name: pathlib.Path(f"{name.split()[0]}.tflite") for name in models}
for name, model in models.items():
    report = dsr.export(model, paths[name])
print(report)  # of the last one

# %% [markdown]
# ## Sizes, accuracy, latency
#
# Any LiteRT interpreter loads the files. The files take turns, so that the load of the machine meets all of them.


# %%
def interpreter(path: pathlib.Path) -> Interpreter:
    runtime = Interpreter(str(path), num_threads=1)
    runtime.allocate_tensors()
    return runtime


def outputs(runtime: Interpreter, example: np.ndarray) -> np.ndarray:
    runtime.set_tensor(runtime.get_input_details()[0]["index"], example[np.newaxis])
    runtime.invoke()
    return runtime.get_tensor(runtime.get_output_details()[0]["index"])[0]


runtimes = {name: interpreter(path) for name, path in paths.items()}
seconds: dict[str, list[float]] = {name: [] for name in runtimes}
for _ in range(300):
    for name, runtime in runtimes.items():
        start = time.perf_counter()
        outputs(runtime, x_test[0])
        seconds[name].append(time.perf_counter() - start)

print(f"{'':15} {'bytes':>9} {'accuracy':>9} {'microseconds':>13}")
for name, runtime in runtimes.items():
    right = np.mean([outputs(runtime, example).argmax() == label for example, label in zip(x_test, y_test)])
    size, latency = paths[name].stat().st_size, 1e6 * statistics.median(seconds[name])
    print(f"{name:15} {size:9,} {right:9.1%} {latency:13.0f}")

# %% [markdown]
# ## Other devices
#
# On ARM and in browsers LiteRT has sparse convolutions with a window of 1, too: `dsr.export(model, path,
# xnnpack=True)`. Files in int8, ONNX and SavedModel: the page "Which file for which device?" of the documentation.
