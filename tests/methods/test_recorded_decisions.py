"""What each method decided when this was recorded, it decides today, to the bit: positions, values, slots and reports.

    KERAS_BACKEND=... python -m tests.methods.test_recorded_decisions    # records, after a change that is meant

A network of the records is set anew before each reallocation, by NumPy, so that nothing but the decisions, what is
drawn at random and what is written is compared. The record also holds a few random numbers of the backend itself: where
those are others (another release of it), nothing can be compared, and the test is skipped.
"""

import hashlib
import json
import os
import pathlib
import sys

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.methods import DSD, DSR, SET, SNFS, DeepR, GradualPruning, RigL, Static
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import selected, values
from tests.helpers.reallocations import places, set_anew

RECORDS = pathlib.Path(__file__).parent.parent / "golden" / "decisions"
CALLS = 4
ANY_STORAGE = {
    "dsr_fraction": DSR(target=0.3),
    "dsr_number": DSR(target=20, initial_threshold=0.5),
    "dsr_initializer": DSR(target=0.2, initial_threshold=0.3, growth="initializer"),
    "set": SET(0.3),
    "set_initializer": SET(0.4, growth="initializer"),
    "static": Static(),
}
ELEMENTS = {
    "set_signed": SET(0.3, rule="signed"),
    "deepr": DeepR(temperature=1e-2, learning_rate=0.1),
    "deepr_cold": DeepR(temperature=[(0, 1e-3), (2, 0.0)], learning_rate=0.1, l1=0.5),
}
MASKED = {
    "gradual": GradualPruning(final_sparsity=0.8, end_step=3),
    "gradual_global": GradualPruning(final_sparsity=0.8, end_step=3, scope="global"),
    "gradual_exponential": GradualPruning(0.1, 0.9, 1, 9, schedule="exponential"),
    "dsd": DSD(sparsity=[(0, 0.7), (2, 0.0), (3, 0.6)]),
    "dsd_random": DSD(sparsity=0.8, cut="random"),
}
GRADIENTS = {"rigl": RigL(0.5, end_step=10), "snfs": SNFS(0.5, end_step=10)}


def cases() -> dict[str, tuple]:
    """`(method, network)` by the name of the case."""
    found = {}
    for name, method in {**ANY_STORAGE, **ELEMENTS, **MASKED, **GRADIENTS}.items():
        networks = ["optimizer"] if name in GRADIENTS else ["masked", "half"]
        networks += ["slices"] * (name not in ELEMENTS and name not in GRADIENTS)
        networks += ["compact", "mixed"] * (name in ANY_STORAGE or name in ELEMENTS)
        found |= {f"{name}/{network}": (method, network) for network in networks}
    return found


CASES = cases()


def network(kind: str) -> keras.Model:
    """Tensors of 21 x 30, 30 x 12 and 12 x 5, or three kernels of convolutions, with slots that start at 0.1."""
    dtype = "float16" if kind == "half" else "float32"
    if kind == "slices":
        made = [
            dsr.SparseConv2D(filters, 3, padding="same", sparsity=0.6, pattern="kernel", mask_seed=filters)
            for filters in (6, 9, 2)
        ]
        shape = (4, 4, 5)
    else:
        compact = {"masked": (), "half": (), "optimizer": (), "compact": (0, 1, 2), "mixed": (1,)}[kind]
        storages = ["compact" if index in compact else "masked" for index in range(3)]
        made = [
            keras.layers.Dense(units)
            if kind == "optimizer"
            else dsr.SparseDense(units, sparsity=0.7, mask_seed=units, storage=storage, dtype=dtype)
            for units, storage in zip((30, 12, 5), storages)
        ]
        shape = (21,)
    model = keras.Sequential([keras.Input(shape), *made])
    inner = keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.1)
    optimizer = dsr.SparseOptimizer(inner, sparsity=0.7, seed=3) if kind == "optimizer" else inner
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def drawn(rng, shape) -> np.ndarray:
    """Normal, tied or many at zero."""
    normal = rng.normal(size=shape)
    return [normal, np.round(2 * normal), np.sign(normal), normal * 1e-3][rng.integers(4)].astype("float32")


def spelled(*arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(values(array) if not isinstance(array, np.ndarray) else array)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def decisions(method, kind: str) -> list:
    """For each call: positions, values and slots as hashes; what is drawn as real numbers only as a sum; the report."""
    rng = np.random.default_rng(5)
    keras.utils.set_random_seed(5)
    model = network(kind)
    reallocation = Reallocation(model, method, seed=11)
    slots = [optimizer_slots(model.optimizer, weight.variable) for weight in reallocation.weights]
    iterations = getattr(model.optimizer, "inner_optimizer", model.optimizer).iterations
    is_drawn = isinstance(method, DeepR) or getattr(method, "growth", "zeros") == "initializer"
    calls = []
    for call in range(CALLS):
        iterations.assign(call)
        for weight, of_it in zip(reallocation.weights, slots):
            set_anew(rng, weight, of_it, places(weight), drawn)
        outcome = reallocation()
        found = [values(weight.variable) for weight in reallocation.weights]
        calls.append(
            {
                "positions": spelled(*[weight.positions() for weight in reallocation.weights]),
                "values": [float(np.abs(array.astype("float64")).sum()) for array in found]
                if is_drawn
                else spelled(*found),
                "slots": spelled(*[slot.variable for of_it in slots for slot in of_it]),
                "states": spelled(*[w.states[name] for w in reallocation.weights for name in sorted(w.states)]),
                "active": outcome.active.tolist(),
                "report": {name: float(value) for name, value in outcome.state.items()},
            }
        )
    return calls


def random_numbers() -> str:
    """Of the backend, by the ways that methods draw them."""
    seed = StepSeed(1, 2, 3, "probe")
    return spelled(keras.random.randint((40,), 0, 1000, seed=seed), keras.random.uniform((40,), seed=seed) < 0.5)


def record_path() -> pathlib.Path:
    return RECORDS / f"{keras.backend.backend()}.json"


@pytest.fixture(scope="module")
def recorded() -> dict:
    record = json.loads(record_path().read_text())
    if record["random_numbers"] != random_numbers():
        pytest.skip(f"this release of {keras.backend.backend()} draws other random numbers than the recorded one")
    return record["decisions"]


QUICK = [name for name in CASES if name.split("/")[0] in ("dsr_initializer", "set_signed", "deepr", "rigl", "snfs")]
if keras.backend.backend() == "jax":  # it compiles a program for each
    QUICK = ["dsr_initializer/mixed", "snfs/optimizer"]


@pytest.mark.filterwarnings("ignore:.*storage='compact':UserWarning")
@pytest.mark.parametrize("name", selected(CASES, QUICK))
def test_a_method_decides_as_it_was_recorded(name, recorded):
    received = decisions(*CASES[name])
    for call, (now, then) in enumerate(zip(received, recorded[name], strict=True)):
        if isinstance(then["values"], list):  # drawn as real numbers, whose last bits a processor decides
            then = {**then, "values": pytest.approx(then["values"], rel=1e-3)}
        assert now == then, f"reallocation {call} differs"


def test_every_case_is_recorded(recorded):
    assert set(recorded) == set(CASES)


def main() -> None:
    record = {"random_numbers": random_numbers(), "decisions": {}}
    for name, case in CASES.items():
        record["decisions"][name] = decisions(*case)
    RECORDS.mkdir(exist_ok=True)
    temporary = record_path().with_suffix(".new")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(temporary, record_path())
    print(f"{len(CASES)} cases recorded in {record_path()}", file=sys.stderr)


if __name__ == "__main__":
    main()
