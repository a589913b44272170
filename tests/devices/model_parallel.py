"""Trains on one device and on a mesh of four that splits the weights, and prints what was found, as JSON.

python -m tests.devices.model_parallel FOLDER [thorough]: with thorough, there are more of them, and every one is
compared with one device.
"""

import contextlib
import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_dsr as dsr
from tests.devices.devices import Scope, model_parallel
from tests.devices.training import Run, all_variables, difference, network, same_bits, trained
from tests.helpers.networks import active_counts, compiled, fit, values

KERNELS = {".*conv/kernel": (None, None, None, "model"), ".*(hidden|classes)/kernel": (None, "model")}
# Patterns that catch what lies beside a kernel as well, its scalar threshold too.
LOOSE = {".*conv.*kernel.*": (None, None, None, "model"), ".*(hidden|classes).*kernel.*": (None, "model")}
DSR = dsr.methods.DSR(target=60, initial_threshold=1e-2)
RUNS = {
    "DSR, layers, 1x4": ("layers", (1, 4), LOOSE, DSR, 20, 4),
    "DSR, layers, 2x2": ("layers", (2, 2), KERNELS, DSR, 20, 4),
    "DSR, optimizer, 2x2": ("optimizer", (2, 2), KERNELS, DSR, 20, 4),
    "DeepR, sparsified, 2x2": ("sparsified", (2, 2), KERNELS, dsr.methods.DeepR(temperature=1e-4), 1, 1),
    "SNFS, optimizer, 2x2": ("optimizer", (2, 2), KERNELS, dsr.methods.SNFS(), 10, 1),
}
QUICK_RUNS = ("DSR, layers, 1x4", "SNFS, optimizer, 2x2")


def layout(variable: keras.Variable) -> tuple:
    """The axes of the mesh over which the value itself lies, without those at the end that are not split."""
    axes = list(variable.value.sharding.spec)
    while axes and axes[-1] is None:
        axes.pop()
    return tuple(axes)


def unlike_their_weight(model: keras.Model) -> list[str]:
    """What has the shape of a sparse weight, belongs to it, and does not lie as it does."""
    found = []
    for weight in dsr.sparse_weights(model):
        beside = [weight.mask, *weight.states.values(), *([weight.gradient] if weight.gradient is not None else [])]
        slots = [one for one in model.optimizer.variables if one.shape == weight.variable.shape]
        found += [one.path for one in [*beside, *slots] if layout(one) != layout(weight.variable)]
        found += [weight.threshold.path] if layout(weight.threshold) else []
    return found


def differing_copies(model: keras.Model) -> list[str]:
    """The variables that do not lie on all four devices, or of which two hold the same part with different bits."""
    found = []
    for variable in all_variables(model):
        parts = {}
        for shard in variable.value.addressable_shards:
            parts.setdefault(str(shard.index), set()).add(np.asarray(shard.data).tobytes())
        if len(variable.value.addressable_shards) != 4 or any(map(lambda held: len(held) != 1, parts.values())):
            found.append(variable.path)
    return found


def described(model: keras.Model) -> dict:
    weights = dsr.sparse_weights(model)
    return {
        "layouts": {weight.name: layout(weight.variable) for weight in weights},
        "a_share": {weight.name: weight.mask.value.addressable_shards[0].data.size / weight.size for weight in weights},
        "unlike_their_weight": unlike_their_weight(model),
        "differing_copies": differing_copies(model),
    }


def trained_on_meshes(thorough: bool) -> tuple[dict, Scope, keras.Model]:
    """What was found, and the last scope with its model."""
    found = {}
    for name in RUNS if thorough else QUICK_RUNS:
        storage, shape, layouts, method, period, epochs = RUNS[name]
        scope = model_parallel(shape, layouts)
        many = one_run(scope, storage, method, period, epochs)
        compared = thorough or name == QUICK_RUNS[0]
        one = one_run(contextlib.nullcontext, storage, method, period, epochs) if compared else many
        found[name] = {**difference(one, many), **described(many.model), "compared": compared}
    return found, scope, many.model


def one_run(scope, storage: str, method, period: int, epochs: int) -> Run:
    with scope():
        model = network(storage, convolutional=True)
    return trained(scope, model, dsr.Reallocate(method, period), period, epochs)


def saved(folder: Path, scope: Scope, model: keras.Model) -> dict:
    """Files of a split model, read where nothing is distributed and where it is split again, and trained on there."""
    model.save(folder / "whole.keras")
    dsr.save(model, folder / "plain.keras")
    with scope():
        there = keras.models.load_model(folder / "whole.keras")
        bits_there = same_bits(model, there)
        fit(there, dsr.Reallocate(dsr.methods.SNFS(), 3))
    here = keras.models.load_model(folder / "whole.keras")
    plain = keras.models.load_model(folder / "plain.keras")
    kernels = [values(loaded.get_layer("hidden").kernel) for loaded in (here, plain)]
    return {
        "bits_here": same_bits(model, here),
        "bits_there": bits_there,
        "plain_kernel": bool(np.array_equal(*kernels)),
        "active": [sum(active_counts(one)) for one in (model, there)],
        "trained_on": described(there),
    }


def built_by_fit() -> dict:
    """A model that has no weights before `fit`, which makes them in a trace."""
    with model_parallel((2, 2), KERNELS)():
        model = keras.Sequential([dsr.SparseDense(16, name="hidden"), dsr.SparseDense(12, name="classes")])
        fit(compiled(model))
    return described(model)


def large(storage: str) -> dict:
    """A kernel that is so large that Keras has its values made in a compiled program."""
    kind = dsr.SparseDense if storage == "layers" else keras.layers.Dense
    with model_parallel((2, 2), {".*kernel": (None, "model")})():
        model = keras.Sequential([keras.Input((4096,)), kind(4096, name="hidden")])
        model.compile(dsr.SparseOptimizer("sgd", 0.9) if storage == "optimizer" else "sgd")
        model.optimizer.build(model.trainable_variables)
    weight = dsr.sparse_weights(model)[0]
    dead = int(np.count_nonzero(values(weight.variable)[~values(weight.mask)]))
    return {**described(model), "active": weight.count(), "size": weight.size, "not_zero_at_dead_places": dead}


def main(folder: str, thorough: str = ""):
    found, scope, model = trained_on_meshes(bool(thorough))
    report = {"trained": found, "saved": saved(Path(folder), scope, model), "built_by_fit": built_by_fit()}
    report["large"] = [large(storage) for storage in ("layers", "optimizer")] if thorough else []
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
