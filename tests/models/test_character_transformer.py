"""The transformer that writes characters: what it has, and that no position sees what comes after it."""

import functools
import math

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from models import character_transformer, thin_width
from tests.helpers.networks import shapes_only, values

SMALL = {"vocabulary": 11, "length": 6, "width": 0.04, "depth": 2}
TEXT = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 1]])


def sparse(sparsity=0.5):
    return functools.partial(dsr.SparseDense, sparsity=sparsity)


@pytest.mark.once
def test_it_has_the_parameters_of_its_docstring():
    with shapes_only():
        model = character_transformer(dense=sparse(0.9))
        weights = dsr.sparse_weights(model)
    parameters = f"{sum(math.prod(variable.shape) for variable in model.trainable_variables):,}"
    kernels = f"{sum(math.prod(weight.shape) for weight in weights):,} of them in the {len(weights)} kernels"
    assert parameters in character_transformer.__doc__ and kernels in character_transformer.__doc__


def test_a_position_sees_the_characters_up_to_it_alone():
    model = character_transformer(**SMALL, dense=sparse())
    logits = values(model(TEXT))
    assert logits.shape == (2, 6, 11) and logits.dtype == "float32"
    changed = TEXT.copy()
    changed[:, 3] = [9, 2]
    other = values(model(changed))
    np.testing.assert_allclose(logits[:, :3], other[:, :3], atol=1e-6)
    assert (abs(logits[:, 3:] - other[:, 3:]).max(-1) > 1e-5).all()


def test_equal_characters_at_other_positions_are_told_apart():
    logits = values(character_transformer(**SMALL)(np.full((1, 6), 3)))[0]
    assert (abs(np.diff(logits, axis=0)).max(-1) > 1e-6).all()


@pytest.mark.once
def test_it_trains_sparse_and_its_stripped_file_is_keras_own(tmp_path):
    model = character_transformer(**SMALL, dense=sparse())
    assert len(dsr.sparse_weights(model)) == 12
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(TEXT, TEXT, verbose=0, epochs=2, callbacks=[dsr.DSRCallback(target=0.2, period=1)])
    dsr.save(model, tmp_path / "stripped.keras")
    stripped = keras.models.load_model(tmp_path / "stripped.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in stripped._flatten_layers())
    np.testing.assert_allclose(values(stripped(TEXT)), values(model(TEXT)), atol=1e-6)


@pytest.mark.once
def test_a_thin_one_has_the_size_of_a_sparse_one():
    width = thin_width(functools.partial(character_transformer, vocabulary=96), 0.9)
    with shapes_only():
        thin = character_transformer(width=width)
    size = sum(math.prod(layer.kernel.shape) for layer in thin.layers if layer.name.startswith("dense"))
    assert 0.5 < size / 300_000 < 1.5


@pytest.mark.once
@pytest.mark.parametrize("wrong", [{"depth": 0}, {"depth": True}, {"depth": 1.5}, {"width": 0}, {"width": math.nan}])
def test_sizes_that_make_no_network_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"character_transformer\({name}=\.\.\.\) must be a positive"):
        character_transformer(**wrong)
