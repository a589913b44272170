"""The program that wrote the files of version 0.1.0 in `tests/golden/0.1.0`, which are never to be written again.

    KERAS_BACKEND=tensorflow python -m tests.golden.write tests/golden/0.1.0

It was run once, at commit b3d1e2d (keras_dsr 0.1.0, keras 3.15.1, tensorflow-cpu 2.21.0, numpy 2.4.6), in under a
minute on 2 cores. What users wrote with that version must load for ever, so a test of `tests/test_golden.py` that fails
is mended in the library, never by new files. This program is kept to say what is in them; it need not run with the
library of today. A later version that writes something else gets files and a program of its own beside these.

Beside each file to go on from lies an `.npz` of what it must give: `inputs` and `outputs` (of `predict`), `iterations`,
and for sparse weight N, in the order of the model, `countN`, `positionsN`, `valuesN`, `thresholdN`, the `slotsN` of the
optimizer, and `signsN` and `gradientN` where the method keeps them. The other files are of the same trained models:
`masked_dsr_by_keras.keras`, `masked.weights.h5`, `plain.keras` and `packed` of that of `masked_dsr.npz`, and
`compact.weights.h5` of that of `compact_dsr.npz`. The run in `run` was stopped in its third epoch of four: `run.npz` is
what its checkpoint gives, `run_finished.npz` what the same run came to that was not stopped.
"""

import pathlib
import shutil
import sys

import keras
import numpy as np
from keras import layers
from rich.console import Console
from sklearn import datasets

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from train.experiment.settings import Settings
from train.run import execute, prepare

BATCHES, BATCH_SIZE = 8, 32


def images() -> tuple[np.ndarray, np.ndarray]:
    found, classes = datasets.load_digits(return_X_y=True)
    return (found / 16).astype("float32"), classes.astype("int32")


def perceptron(storage: str = "masked") -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(12, sparsity=0.8, mask_seed=1, storage=storage, activation="relu", name="hidden"),
            dsr.SparseDense(10, sparsity=0.7, mask_seed=2, storage=storage, name="classes"),
        ]
    )


def slices() -> keras.Model:
    settings = {"sparsity": 0.5, "granularity": "kernel", "padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            dsr.SparseConv2D(6, 3, mask_seed=1, name="first", **settings),
            layers.MaxPooling2D(2),
            dsr.SparseConv2D(6, 3, mask_seed=2, name="second", **settings),
            layers.GlobalMaxPooling2D(),
            layers.Dense(10, name="classes"),
        ]
    )


def sequence() -> keras.Model:
    inputs = keras.Input((64,))
    rows = layers.Reshape((8, 8))(inputs)
    x = dsr.SparseLSTM(6, sparsity=0.5, mask_seed=1, return_sequences=True, name="recurrent")(rows)
    x = dsr.SparseMultiHeadAttention(2, 3, sparsity=0.5, mask_seed=2, name="attention")(x, x)
    x = dsr.SparseEinsumDense("abc,cd->abd", (8, 5), sparsity=0.5, mask_seed=3, name="einsum")(x)
    return keras.Model(inputs, layers.Dense(10, name="classes")(layers.Flatten()(x)))


def stock() -> keras.Model:
    return keras.Sequential(
        [keras.Input((64,)), layers.Dense(12, "relu", name="hidden"), layers.Dense(10, name="classes")]
    )


def trained(model: keras.Model, callback: keras.callbacks.Callback, optimizer=None) -> keras.Model:
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    x, y = (part[: BATCHES * BATCH_SIZE] for part in images())
    history = model.fit(x, y, batch_size=BATCH_SIZE, epochs=2, shuffle=False, verbose=0, callbacks=[callback]).history
    assert sum(history["dsr_pruned"]) > 0, f"nothing moved: {history}"
    return model


def by_dsr(target: int = 15) -> keras.callbacks.Callback:
    return dsr.DSRCallback(target=target, initial_threshold=0.05, period=3)


def by_deepr() -> keras.callbacks.Callback:
    return dsr.Reallocate(dsr.methods.DeepR(temperature=1e-3, l1=1e-5))


def record(model: keras.Model, path: pathlib.Path) -> None:
    """Write what a file of the model must give."""
    inputs = images()[0][-6:].reshape(-1, *model.input_shape[1:])
    found = {"inputs": inputs, "outputs": model.predict(inputs, verbose=0)}
    found["iterations"] = int(model.optimizer.iterations.numpy())
    for number, weight in enumerate(dsr.sparse_weights(model)):
        found[f"count{number}"] = weight.count()
        found[f"positions{number}"] = weight.positions()
        found[f"values{number}"] = weight.values()
        found[f"threshold{number}"] = weight.threshold.numpy()
        if "signs" in weight.states:
            found[f"signs{number}"] = weight.states["signs"].numpy()
        if weight.gradient is not None:
            found[f"gradient{number}"] = weight.gradient.numpy()
        slots = optimizer_slots(model.optimizer, weight.variable)
        found[f"slots{number}"] = np.stack([slot.variable.numpy() for slot in slots])
    np.savez_compressed(path, **found)


def write_models(folder: pathlib.Path) -> None:
    resumable = {
        "masked_dsr": trained(perceptron(), by_dsr()),
        "compact_dsr": trained(perceptron("compact"), by_dsr()),
        "masked_deepr": trained(perceptron(), by_deepr(), keras.optimizers.SGD(0.1, momentum=0.9)),
        "compact_deepr": trained(perceptron("compact"), by_deepr(), keras.optimizers.SGD(0.1, momentum=0.9)),
        "slices_dsr": trained(slices(), by_dsr(4)),
        "sequence_dsr": trained(sequence(), by_dsr(30)),
        "optimizer_rigl": trained(
            stock(),
            dsr.Reallocate(dsr.methods.RigL(fraction=0.3, end_step=1000), period=3),
            dsr.SparseOptimizer(keras.optimizers.Adam(0.01), sparsity=0.8, seed=1),
        ),
    }
    for name, model in resumable.items():
        dsr.save(model, folder / f"{name}.keras", resumable=True)
        record(model, folder / f"{name}.npz")

    masked, compact = resumable["masked_dsr"], resumable["compact_dsr"]
    masked.save(folder / "masked_dsr_by_keras.keras")
    masked.save_weights(folder / "masked.weights.h5")
    compact.save_weights(folder / "compact.weights.h5")
    dsr.save(masked, folder / "plain.keras")
    dsr.export(masked, folder / "packed")


class Stop(keras.callbacks.Callback):
    """As Ctrl-C in the middle of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._epoch == 2:
            raise KeyboardInterrupt


def write_run(folder: pathlib.Path, whole: pathlib.Path) -> None:
    """A run of four epochs that was stopped in its third, and what the one in `whole`, which was not, ended with."""
    settings = {"width": 0.05, "sparsity": 0.8, "epochs": 4, "batch_size": 10, "steps_per_epoch": 108, "seed": 1}
    run = prepare(Settings(out=str(folder / "run"), **settings))
    try:
        execute(run, Console(quiet=True), Stop())
    except KeyboardInterrupt:
        shutil.rmtree(folder / "run" / "tensorboard")
    stopped = prepare(Settings(out=str(folder / "run"), resume=True, **settings))
    record(stopped.network.model, folder / "run.npz")

    finished = prepare(Settings(out=str(whole), **settings))
    execute(finished, Console(quiet=True))
    record(finished.network.model, folder / "run_finished.npz")


def main(folder: pathlib.Path) -> None:
    if folder.exists():
        sys.exit(f"{folder} is there already, and golden files are never written again.")
    if keras.backend.backend() != "tensorflow":
        sys.exit(f"The golden files are TensorFlow's. Received: KERAS_BACKEND={keras.backend.backend()}")
    folder.mkdir()
    keras.utils.set_random_seed(0)
    write_models(folder)
    whole = folder.with_name("whole")
    write_run(folder, whole)
    shutil.rmtree(whole)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
