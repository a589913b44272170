"""A sparse network goes on after a restart as if there had been none: masks, weights, H and optimizer."""

import keras
import pytest

import keras_dsr as dsr
from keras_dsr.methods import SET, DeepR, GradualPruning
from tests.helpers.networks import active_counts, bits, compiled, fit, perceptron, state_bits

untraced = pytest.mark.slow_on("tensorflow")  # TensorFlow has one such case; more would trace the same for long


def reallocating(period=3):
    return dsr.DSRCallback(target=40, initial_threshold=0.05, period=period)


def masks_and_threshold(model):
    return [(bits(w.mask), bits(w.variable), bits(w.threshold)) for w in dsr.sparse_weights(model)]


def fresh_model(seed=5):
    """The same architecture with weights and masks of that seed."""
    keras.utils.set_random_seed(seed)
    return compiled(perceptron(seed=seed), keras.optimizers.Adam(0.01))


def trained_model():
    model = fresh_model(seed=1)
    fit(model, reallocating(), batches=6)
    assert float(model.layers[0].kernel_threshold) > 0
    return model


@pytest.fixture(scope="module")
def trained():
    """A trained model, which tests must not change."""
    return trained_model()


def test_a_keras_file_brings_back_model_optimizer_masks_and_threshold(tmp_path, trained):
    model = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert masks_and_threshold(loaded) == masks_and_threshold(model)
    assert [bits(v) for v in loaded.optimizer.variables] == [bits(v) for v in model.optimizer.variables]


@pytest.mark.slow_on("tensorflow", "jax")
def test_training_goes_on_from_a_keras_file_bit_for_bit(tmp_path):
    model = trained_model()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    histories = [fit(each, reallocating(), batches=6).history for each in (model, loaded)]
    assert histories[0] == histories[1]
    assert state_bits(loaded) == state_bits(model)


def test_a_weights_file_brings_back_masks_and_threshold(tmp_path, trained):
    model, other = trained, fresh_model()
    model.save_weights(tmp_path / "model.weights.h5")
    assert masks_and_threshold(other) != masks_and_threshold(model)
    other.load_weights(tmp_path / "model.weights.h5")
    assert masks_and_threshold(other) == masks_and_threshold(model)


@pytest.mark.parametrize("name", [pytest.param("model.keras", marks=untraced), "model.weights.h5"])
def test_a_model_checkpoint_holds_what_the_epoch_ended_with(tmp_path, name):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / name, save_weights_only=name.endswith(".h5"))
    model = fresh_model(seed=1)
    fit(model, reallocating(), checkpoint, batches=6, epochs=2)
    if name.endswith(".h5"):
        loaded = fresh_model()
        loaded.load_weights(tmp_path / name)
    else:
        loaded = keras.models.load_model(tmp_path / name)
    assert masks_and_threshold(loaded) == masks_and_threshold(model)


class RunInterruptedError(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    """Ends the run in the middle of an epoch, as a crash would."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            raise RunInterruptedError


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("period", "steps_per_execution"),
    [
        pytest.param(3, 1, marks=untraced),
        pytest.param(4, 1, marks=pytest.mark.thorough),
        pytest.param(5, 2, marks=pytest.mark.backends("tensorflow", "jax")),  # Keras refuses it on torch
    ],
)
def test_a_run_restored_from_a_backup_ends_with_the_bits_of_one_that_was_never_interrupted(
    tmp_path, period, steps_per_execution
):
    def run(model, *callbacks):
        model.steps_per_execution = steps_per_execution
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq="epoch")
        fit(model, reallocating(period), backup, *callbacks, batches=7, epochs=4)
        return state_bits(model)

    uninterrupted = run(fresh_model(seed=1))
    with pytest.raises(RunInterruptedError):
        run(fresh_model(seed=1), Interrupt(step=18))
    resumed_model = fresh_model(seed=9)
    assert run(resumed_model) == uninterrupted
    assert sum(active_counts(resumed_model)) == 355


METHODS = {
    "DeepR": lambda: dsr.Reallocate(DeepR(temperature=[(0, 1e-4), (15, 1e-5)])),
    "SET": lambda: dsr.Reallocate(SET(growth="initializer"), period=3),
    "pruning": lambda: dsr.Reallocate(GradualPruning(final_sparsity=0.9, end_step=20), period=3),
}


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("method", "restored_first"),
    [
        pytest.param("DeepR", False, marks=untraced),
        ("DeepR", True),
        pytest.param("SET", False, marks=untraced),
        pytest.param("pruning", False, marks=untraced),
    ],
)
def test_whatever_the_method_a_resumed_run_ends_with_the_bits_of_the_uninterrupted_one(
    tmp_path, method, restored_first
):
    def run(model, *callbacks):
        pair = [METHODS[method](), keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq="epoch")]
        fit(model, *(reversed(pair) if restored_first else pair), *callbacks, batches=5, epochs=4)
        return state_bits(model)

    uninterrupted = run(fresh_model(seed=1))
    with pytest.raises(RunInterruptedError):
        run(fresh_model(seed=1), Interrupt(step=13))
    assert run(fresh_model(seed=9)) == uninterrupted


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        pytest.param("DeepR", ".keras", marks=untraced),
        ("DeepR", ".weights.h5"),
        pytest.param("SET", ".keras", marks=untraced),
        pytest.param("pruning", ".keras", marks=untraced),
    ],
)
def test_training_goes_on_from_a_file_bit_for_bit_whatever_the_method(tmp_path, method, suffix):
    model = fresh_model(seed=1)
    fit(model, METHODS[method](), batches=5)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        loaded = keras.models.load_model(path)
    else:
        model.save_weights(path)
        loaded = fresh_model(seed=9)
        loaded.optimizer.build(loaded.trainable_variables)
        loaded.load_weights(path)
    for each in (model, loaded):
        fit(each, METHODS[method](), batches=5)
    assert state_bits(loaded) == state_bits(model)


@untraced
def test_initial_epoch_goes_on_with_the_steps_that_were_taken():
    whole, halves = fresh_model(seed=1), fresh_model(seed=1)
    fit(whole, reallocating(4), batches=6, epochs=2)
    fit(halves, reallocating(4), batches=6, epochs=1)
    fit(halves, reallocating(4), batches=6, epochs=2, initial_epoch=1)
    assert state_bits(halves) == state_bits(whole)


def test_a_truncated_file_is_refused_and_changes_nothing(tmp_path, trained):
    model = trained
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    path.write_bytes(path.read_bytes()[:-500])
    before = state_bits(model)
    with pytest.raises(OSError):
        model.load_weights(path)
    assert state_bits(model) == before
