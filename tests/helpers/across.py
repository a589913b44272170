"""What a backend makes of the files of another: `KERAS_BACKEND=jax python -m tests.helpers.across FOLDER`."""

import pathlib
import sys

import keras
import numpy as np

import keras_dsr as dsr
from keras_dsr.methods import DSR, GradualPruning
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import batch, values


def write(folder: pathlib.Path, model: keras.Model) -> None:
    """Files of a model: to go on from, and plain."""
    model.save(folder / "whole.keras")
    dsr.save(model, folder / "resumable.keras", resumable=True)
    dsr.save(model, folder / "plain.keras")


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """What this backend finds in the files, and what it decides by the weights in them."""
    found = {}
    for name in ("whole", "resumable", "plain"):
        model = keras.models.load_model(folder / f"{name}.keras")
        found[f"outputs of {name}"] = values(model(batch()))
        for number, weight in enumerate(dsr.sparse_weights(model)):
            found[f"mask {number} of {name}"] = values(weight.mask)
            found[f"threshold {number} of {name}"] = values(weight.threshold)
            found[f"weight {number} of {name}"] = values(weight.variable)
        if name == "plain":
            report = dsr.sparsify(model, 0.9, distribution="erk", mask="magnitude")
            found["sparsified"] = np.array([row.active for row in report.rows])
            found.update({f"largest {n}": values(one.mask) for n, one in enumerate(dsr.sparse_weights(model))})
        else:
            method = DSR(target=40, tolerance=0) if name == "whole" else GradualPruning(final_sparsity=0.95, end_step=1)
            found.update(_decided(model, method))
    fresh = dsr.SparseDense(30, sparsity=0.9, mask_seed=5)
    fresh.build((None, 20))
    found["random mask of a seed"] = values(fresh.kernel_mask)
    return found


def _decided(model: keras.Model, method) -> dict[str, np.ndarray]:
    """The budget, the threshold and the survivors of one reallocation; where weights grow is random."""
    weights = dsr.sparse_weights(model)
    before = [values(weight.mask) for weight in weights]
    outcome = Reallocation(model, method)()
    found = {"active": outcome.active, **outcome.state}
    for number, (weight, mask) in enumerate(zip(weights, before)):
        found[f"survivors {number}"] = mask & values(weight.mask)
    return {f"{name} of {type(method).__name__}": value for name, value in found.items()}


if __name__ == "__main__":
    np.savez(pathlib.Path(sys.argv[1]) / "found.npz", **read(pathlib.Path(sys.argv[1])))
