"""Trains on one device and on several, each with a copy of the model, and prints what was found, as JSON.

python -m tests.devices.data_parallel FOLDER COUNTS [thorough]: COUNTS such as `4,2` are the numbers of devices for
sparse layers and for the optimizer; with thorough, each runs on both, every method is compared with one device, and a
run that is interrupted and DSD are among them.
"""

import contextlib
import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_dsr as dsr
from tests.devices.devices import copies, data_parallel, make_tensorflow_devices
from tests.devices.training import BATCHES, all_variables, difference, fit_scope, network, same_bits, trained
from tests.helpers.networks import batch, fit, values

ONE_DEVICE = contextlib.nullcontext
DSR = dsr.methods.DSR(target=60, initial_threshold=1e-2)
METHODS = {
    "SET": ("sparsified", dsr.methods.SET(0.2), 10),
    "DeepR": ("sparsified", dsr.methods.DeepR(temperature=1e-4), 1),
    "DeepR, optimizer": ("optimizer", dsr.methods.DeepR(temperature=1e-4), 1),
    "DSR, compact": ("compact", DSR, 20),
    "DeepR, compact": ("compact", dsr.methods.DeepR(temperature=1e-4), 1),
    "RigL": ("optimizer", dsr.methods.RigL(), 10),
    "SNFS": ("optimizer", dsr.methods.SNFS(), 10),
    "StraightThrough": ("layers", dsr.methods.StraightThrough(decay=0.1), 10),
}
RIGL_COMPACT = ("compact", dsr.methods.RigL(), 10)
if keras.backend.backend() == "jax":
    METHODS["RigL, compact"] = RIGL_COMPACT
    METHODS["DSR, compact convolution"] = ("compact convolution", DSR, 20)
    METHODS["RigL, layers"] = ("layers", dsr.methods.RigL(), 10)
    METHODS["SNFS, layers"] = ("layers", dsr.methods.SNFS(), 10)
QUICK_METHODS = {
    "jax": ("SET", "DeepR, optimizer", "RigL", "DSR, compact", "DSR, compact convolution", "RigL, compact"),
    "tensorflow": ("RigL",),
}[keras.backend.backend()]
COMPARED = ("RigL", "StraightThrough", "DSR, compact", "DSR, compact convolution", "RigL, compact")


class Interrupt(keras.callbacks.Callback):
    """Stops training by an error when an epoch begins."""

    def __init__(self, epoch: int):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self._epoch:
            raise KeyboardInterrupt


def one_run(scope, storage: str, method, period: int, epochs: int):
    with scope():
        model = network(storage)
    return trained(scope, model, dsr.Reallocate(method, period=period), period, epochs)


def differing_copies(model: keras.Model, count: int) -> list[str]:
    """The variables that are not there once on each device, or not with the same bits."""
    found = {variable.path: copies(variable) for variable in all_variables(model)}
    return [path for path, held in found.items() if len(held) != count or len({one.tobytes() for one in held}) != 1]


def reallocated(counts: list[int], thorough: bool) -> tuple[dict, dict]:
    """DSR with either storage: what was found, and the model of each."""
    found, models = {}, {}
    for storage, usual in zip(("layers", "optimizer"), counts, strict=True):
        one = one_run(ONE_DEVICE, storage, DSR, 20, 4)
        for count in sorted({usual, *(counts if thorough else ())}):
            many = one_run(data_parallel(count), storage, DSR, 20, 4)
            if count == usual:
                models[storage] = many.model
            found[f"{storage}, {count} devices"] = {
                **difference(one, many),
                "differing_copies": differing_copies(many.model, count),
            }
    return found, models


def by_other_methods(count: int, thorough: bool) -> dict:
    found = {}
    for name in METHODS if thorough else QUICK_METHODS:
        storage, method, period = METHODS[name]
        many = one_run(data_parallel(count), storage, method, period, 2)
        compared = thorough or name in COMPARED
        one = one_run(ONE_DEVICE, storage, method, period, 2) if compared else many
        found[name] = {
            **difference(one, many),
            "compared": compared,
            "differing_copies": differing_copies(many.model, count),
        }
        gradients = [[weight.gradient for weight in dsr.sparse_weights(run.model)] for run in (one, many)]
        if gradients[0][0] is not None:
            pairs = [(values(left), values(right)) for left, right in zip(*gradients)]
            found[name]["gradients"] = max(float(abs(left - right).max()) for left, right in pairs)
            found[name]["largest_gradient"] = max(float(abs(left).max()) for left, _ in pairs)
    return found


def refused(count: int) -> str:
    """What TensorFlow, whose replicas see the gradients of their own examples, says of RigL in compact storage."""
    storage, method, period = RIGL_COMPACT
    try:
        one_run(data_parallel(count), storage, method, period, 1)
    except ValueError as error:
        return str(error)
    return ""


def saved(folder: Path, models: dict) -> dict:
    """Files that a distributed model writes, read where nothing is distributed."""
    found = {}
    for storage, model in models.items():
        plain, resumable, weights = (folder / f"{storage}{end}" for end in (".keras", "_all.keras", ".weights.h5"))
        dsr.save(model, plain)
        model.save(resumable)
        model.save_weights(weights)
        expected = model.get_layer("hidden").get_weights()[0] * values(dsr.sparse_weights(model)[0].mask)
        loaded = keras.models.load_model(plain)
        whole = keras.models.load_model(resumable)
        again = network(storage)
        dsr.sparse_weights(again)  # builds the optimizer
        again.load_weights(weights)
        found[storage] = {
            "plain_classes": [type(layer).__name__ for layer in loaded.layers],
            "plain_weights": bool(np.array_equal(values(loaded.get_layer("hidden").kernel), expected)),
            "whole_bits": same_bits(model, whole),
            "weights_bits": all(map(same_value, model.variables, again.variables)),
            "outputs": float(abs(values(loaded(batch())) - values(whole(batch()))).max()),
        }
    return found


def same_value(one, other) -> bool:
    return values(one).tobytes() == values(other).tobytes()


def resumed(folder: Path, scope, whole: keras.Model) -> dict:
    """A run that is interrupted when its third epoch begins and goes on in a new model, against one that is not."""

    def run(interrupted_at: int) -> keras.Model:
        with scope():
            model = network("layers")
        backup = keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False)
        with fit_scope(scope), contextlib.suppress(KeyboardInterrupt):
            fit(model, dsr.Reallocate(DSR, 20), backup, Interrupt(interrupted_at), batches=BATCHES, epochs=4)
        return model

    interrupted, again = run(2), run(4)
    steps = [int(values(model.optimizer.iterations)) for model in (interrupted, again)]
    return {"steps": steps, "same_bits": same_bits(whole, again)}


def dense_sparse_dense(scope, count: int) -> dict:
    """DSD: what its phases cut, and the plain model that is left."""
    with scope():
        model = network("dense")
    callback = dsr.DSDCallback(sparsity=0.5, dense_steps=10, sparse_steps=20, verbose=0)
    with fit_scope(scope):
        history = fit(model, callback, batches=20, epochs=3)
    return {
        "phases": history.history["dsd_phase"],
        "sparsities": history.history["sparsity"],
        "classes": [type(layer).__name__ for layer in model.layers],
        "zeros": int((values(model.get_layer("hidden").kernel) == 0).sum()),
        "differing_copies": differing_copies(model, count),
    }


def main(folder: str, counts: str, thorough: str = ""):
    counts = [int(count) for count in counts.split(",")]
    if keras.backend.backend() == "tensorflow":
        make_tensorflow_devices(max(counts))
    reallocations, models = reallocated(counts, bool(thorough))
    found = {
        "reallocated": reallocations,
        "methods": by_other_methods(counts[1], bool(thorough)),
        "saved": saved(Path(folder), models),
    }
    if thorough:
        found["resumed"] = resumed(Path(folder), data_parallel(counts[0]), models["layers"])
        found["dense_sparse_dense"] = dense_sparse_dense(data_parallel(counts[1]), counts[1])
    if keras.backend.backend() == "tensorflow":
        found["refused"] = refused(counts[1])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
