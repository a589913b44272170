"""A checkpoint restores every variable to the bit, or refuses and changes nothing."""

import functools

import keras
import numpy as np
import pytest

import keras_dsr as dsr
import models
from train import checkpoint
from train.checkpoint import Progress


def network(sparsity: float = 0.9, classes: int = 10, seed: int = 0) -> keras.Model:
    """A small network with optimizer slots and the state of a random generator."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    dense = functools.partial(dsr.SparseDense, sparsity=sparsity)
    body = models.lenet_300_100((4, 4, 1), classes, dense=dense)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Dropout(0.1), body])
    model.compile(keras.optimizers.Adam(), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


def variables(model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)]


def same(model, arrays) -> bool:
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in zip(variables(model), arrays, strict=True))


@pytest.fixture(scope="module")
def trained():
    model = network()
    x, y = np.random.default_rng(0).normal(size=(20, 4, 4, 1)), np.arange(20) % 10
    model.fit(x, y, batch_size=5, epochs=2, callbacks=[dsr.DSRCallback(period=3)], verbose=0)
    return model


ROWS = [{"epoch": 0, "loss": 0.1, "sparsity": 0.9, "dsr_pruned": 3}, {"epoch": 1, "loss": 1 / 3, "dsr_pruned": 4}]


def test_everything_comes_back_to_the_bit(trained, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", trained, Progress(2, ROWS))
    other = network(seed=5)
    assert not same(other, variables(trained))
    assert checkpoint.load(tmp_path / "checkpoint", other) == Progress(2, ROWS)
    assert same(other, variables(trained))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_masks_threshold_slots_and_generators_are_in_it(trained):
    names = " ".join(checkpoint._variables(trained))
    assert all(part in names for part in ("kernel_mask", "kernel_threshold", "momentum", "iteration", "seed_generator"))


def test_a_save_that_fails_leaves_the_old_file(trained, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", trained, Progress(1, []))
    before = (tmp_path / "checkpoint").read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path / "checkpoint", trained, Progress(2, [{"epoch": object()}]))
    assert (tmp_path / "checkpoint").read_bytes() == before


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_file_is_refused(trained, tmp_path, share):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    _assert_refused(path, "is damaged or truncated and cannot be read.*Nothing was changed.*--overwrite")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_changed_byte_is_noticed(trained, tmp_path, share):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    damaged = bytearray(path.read_bytes())
    damaged[int(len(damaged) * share)] ^= 0xFF
    path.write_bytes(bytes(damaged))
    _assert_refused(path, "is damaged or truncated")


def test_another_architecture_is_refused_by_what_differs(trained, tmp_path):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    message = r"another network or optimizer.*holds \d+ variables.*sparse_dense_2/kernel float32\[100,10\] in the "
    _assert_refused(path, message + r"checkpoint, .*float32\[100,7\] here", classes=7)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        checkpoint.load(tmp_path / "checkpoint", network())


def _assert_refused(path, message, **architecture):
    model = network(**architecture)
    before = variables(model)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(path, model)
    assert same(model, before)
