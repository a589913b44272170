"""Files of earlier versions (`tests/golden/`) load on every backend, give what they gave, and training goes on.

They were written on TensorFlow: outputs are equal to a relative and absolute 1e-5, all that is stored to the bit.
"""

import pathlib
import shutil

import keras
import numpy as np
import pytest
from rich.console import Console

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from tests.helpers.networks import active_counts, digits, values

FILES = pathlib.Path(__file__).parent / "golden" / "0.1.0"
CALLBACKS = {
    "masked_dsr": lambda: dsr.DSRCallback(target=15, initial_threshold=0.05, period=3),
    "masked_dsr_by_keras": lambda: dsr.DSRCallback(target=15, initial_threshold=0.05, period=3),
    "compact_dsr": lambda: dsr.DSRCallback(target=15, initial_threshold=0.05, period=3),
    "masked_deepr": lambda: dsr.Reallocate(dsr.methods.DeepR(temperature=1e-3, l1=1e-5)),
    "compact_deepr": lambda: dsr.Reallocate(dsr.methods.DeepR(temperature=1e-3, l1=1e-5)),
    "slices_dsr": lambda: dsr.DSRCallback(target=4, initial_threshold=0.05, period=3),
    "sequence_dsr": lambda: dsr.DSRCallback(target=30, initial_threshold=0.05, period=3),
    "optimizer_rigl": lambda: dsr.Reallocate(dsr.methods.RigL(fraction=0.3, end_step=1000), period=3),
}
SLOW = {name: ("jax",) for name in CALLBACKS}  # to compile
SLOW |= {"masked_dsr": (), "optimizer_rigl": (), "masked_dsr_by_keras": ("tensorflow", "jax")}
SLOW |= {"sequence_dsr": ("tensorflow", "jax"), "compact_deepr": ("tensorflow", "jax")}
RUN = {"width": 0.05, "sparsity": 0.8, "epochs": 4, "batch_size": 10, "steps_per_epoch": 108, "seed": 1}


def expected_of(name: str) -> dict[str, np.ndarray]:
    """What a file must give, as its program recorded it."""
    with np.load(FILES / f"{name.removesuffix('_by_keras')}.npz") as record:
        return dict(record)


def assert_same_outputs(outputs, expected: dict) -> None:
    np.testing.assert_allclose(values(outputs), expected["outputs"], rtol=1e-5, atol=1e-5)


def assert_same_weights(model: keras.Model, expected: dict) -> None:
    """Counts, positions, values and thresholds of the sparse weights, and what their methods keep with them."""
    weights = dsr.sparse_weights(model)
    assert len(weights) == sum(name.startswith("count") for name in expected)
    for number, weight in enumerate(weights):
        assert weight.count() == expected[f"count{number}"]
        np.testing.assert_array_equal(weight.positions(), expected[f"positions{number}"])
        np.testing.assert_array_equal(weight.values(), expected[f"values{number}"])
        np.testing.assert_array_equal(values(weight.threshold), expected[f"threshold{number}"])
        if f"signs{number}" in expected:
            np.testing.assert_array_equal(values(weight.states["signs"]), expected[f"signs{number}"])
        if f"gradient{number}" in expected:
            np.testing.assert_array_equal(values(weight.gradient), expected[f"gradient{number}"])


def assert_same_optimizer(model: keras.Model, expected: dict) -> None:
    """The step, and the slots of the sparse weights."""
    assert values(model.optimizer.iterations) == expected["iterations"]
    for number, weight in enumerate(dsr.sparse_weights(model)):
        slots = [values(slot.variable) for slot in optimizer_slots(model.optimizer, weight.variable)]
        np.testing.assert_array_equal(slots, expected[f"slots{number}"])


def perceptron(storage: str) -> keras.Model:
    """The network of the files of weights, with other masks and weights."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(12, sparsity=0.8, mask_seed=8, storage=storage, activation="relu"),
            dsr.SparseDense(10, sparsity=0.7, mask_seed=9, storage=storage),
        ]
    )


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_file_to_go_on_from_gives_what_it_gave(name):
    expected = expected_of(name)
    model = keras.models.load_model(FILES / f"{name}.keras")
    assert_same_weights(model, expected)
    assert_same_optimizer(model, expected)
    assert_same_outputs(model(expected["inputs"]), expected)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow_on(*SLOW[name])) for name in CALLBACKS])
def test_training_goes_on_under_the_budget_of_the_file(name):
    expected = expected_of(name)
    model = keras.models.load_model(FILES / f"{name}.keras")
    images, classes = (part[:192] for part in digits())
    callbacks = [CALLBACKS[name]()]
    history = model.fit(images, classes, batch_size=32, shuffle=False, verbose=0, callbacks=callbacks).history
    assert history["dsr_reallocations"] == [6 if name.endswith("deepr") else 2]
    assert values(model.optimizer.iterations) == expected["iterations"] + 6
    assert sum(active_counts(model)) == sum(expected[key] for key in expected if key.startswith("count"))


@pytest.mark.parametrize("storage", ["masked", "compact"])
@pytest.mark.filterwarnings("ignore:.*it is likely to be slower")
def test_a_file_of_weights_gives_what_it_gave(storage):
    expected = expected_of(f"{storage}_dsr")
    model = perceptron(storage)
    model.load_weights(FILES / f"{storage}.weights.h5")
    assert_same_weights(model, expected)
    assert_same_outputs(model.predict(expected["inputs"], verbose=0), expected)


def test_a_plain_file_gives_what_it_gave_in_stock_layers():
    expected = expected_of("masked_dsr")
    model = keras.models.load_model(FILES / "plain.keras")
    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
    for number, layer in enumerate(model.layers):
        kernel = values(layer.kernel).reshape(-1)
        np.testing.assert_array_equal(kernel[expected[f"positions{number}"]], expected[f"values{number}"])
        assert np.count_nonzero(kernel) == np.count_nonzero(expected[f"values{number}"])
    assert_same_outputs(model.predict(expected["inputs"], verbose=0), expected)


@pytest.mark.backends("tensorflow")
def test_a_packed_saved_model_gives_what_it_gave():
    import tensorflow as tf

    expected = expected_of("masked_dsr")
    served = tf.saved_model.load(str(FILES / "packed"))
    assert_same_outputs(served.serve(expected["inputs"]), expected)


@pytest.mark.backends("tensorflow")  # a run goes on where it began
def test_a_run_that_was_stopped_goes_on_to_what_it_would_have_come_to(tmp_path):
    from train.experiment.settings import Settings
    from train.run import execute, prepare
    from train.storage import checkpoint

    folder = shutil.copytree(FILES / "run", tmp_path / "run")
    run, expected = prepare(Settings(out=str(folder), resume=True, **RUN)), expected_of("run")
    model = run.network.model
    assert run.progress.epochs == 2
    assert_same_weights(model, expected)
    assert_same_optimizer(model, expected)
    assert_same_outputs(model(expected["inputs"]), expected)

    result = execute(run, Console(quiet=True))
    assert result.active_weights == sum(expected[f"count{number}"] for number in range(3))
    expected = expected_of("run_finished")
    assert checkpoint.load(folder / "checkpoint", model).epochs == 4
    assert values(model.optimizer.iterations) == expected["iterations"]
    for number, weight in enumerate(dsr.sparse_weights(model)):  # as closely as another way to add up may come
        np.testing.assert_array_equal(weight.positions(), expected[f"positions{number}"])
        np.testing.assert_allclose(weight.values(), expected[f"values{number}"], rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(values(weight.threshold), expected[f"threshold{number}"])
    np.testing.assert_allclose(values(model(expected["inputs"])), expected["outputs"], rtol=1e-3, atol=1e-3)
