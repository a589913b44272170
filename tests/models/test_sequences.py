"""The networks of the DSD paper that read or write sequences."""

import functools
import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_dsr as dsr
from models import deep_speech, deep_speech_2, neural_talk
from tests.helpers.networks import compiled, shapes_only, values

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and takes long there

SPEECH = {"input_shape": (12, 8), "classes": 5, "width": 0.005}
TALK = {"features": 6, "vocabulary": 9, "length": 4, "width": 0.01}
SPARSE = {
    "conv": functools.partial(dsr.SparseConv2D, sparsity=0.5),
    "dense": functools.partial(dsr.SparseDense, sparsity=0.5),
    "recurrent": functools.partial(dsr.SparseSimpleRNN, sparsity=0.5),
}
BUILDERS = [deep_speech, deep_speech_2, neural_talk]


shapes_alone = pytest.mark.backends("torch")  # which no backend changes


def frames():
    return np.random.default_rng(0).normal(size=(2, 12, 8)).astype("float32")


def talk_inputs():
    features = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")
    return {"features": features, "words": np.array([[1, 3, 4, 0], [1, 5, 0, 0]])}


def small(builder, **constructors):
    """A small network and what it reads; `constructors` that it does not take are left out."""
    settings, inputs = (TALK, talk_inputs()) if builder is neural_talk else (SPEECH, frames())
    taken = {name: made for name, made in constructors.items() if name in builder.__code__.co_varnames}
    return builder(**settings, **taken), inputs


def parameters(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def kernels(model):
    """Every layer, within containers too, that has a kernel."""
    return [layer for layer in model._flatten_layers() if hasattr(layer, "kernel")]


@shapes_alone
@pytest.mark.parametrize(
    ("builder", "count", "published"),
    [(neural_talk, 6_798_314, 6.8e6), (deep_speech, 8_184_989, 8e6), (deep_speech_2, 67_394_077, 67e6)],
)
def test_the_network_has_the_parameters_of_its_docstring_near_those_published(builder, count, published):
    with shapes_only():
        model = builder()
    assert parameters(model) == count
    assert abs(count / published - 1) < 0.025
    assert f"{count:,}" in builder.__doc__


@shapes_alone
def test_the_parameters_of_neural_talk_are_those_of_its_layers():
    with shapes_only():
        model = neural_talk()
    counts = [layer.count_params() for layer in model.layers if layer.count_params()]
    assert sorted(counts) == sorted([2_097_664, 1_299_456, 2_099_200, 1_301_994])


@shapes_alone
def test_what_may_be_sparse_in_deep_speech_is_as_large_as_the_docstrings_say():
    for builder, number, size in ((deep_speech, 7, 6_451_200), (deep_speech_2, 30, 67_285_184)):
        with shapes_only():
            weights = dsr.sparse_weights(builder(**SPARSE if builder is deep_speech_2 else without_convolution()))
        assert len(weights) == number
        assert sum(math.prod(weight.shape) for weight in weights) == size
        assert f"{size:,}" in builder.__doc__


def without_convolution():
    return {name: made for name, made in SPARSE.items() if name != "conv"}


@shapes_alone
def test_with_a_shared_kernel_1024_units_would_make_what_the_docstring_says():
    with shapes_only():
        model = deep_speech(width=1024 / 960)
    assert parameters(model) == 9_189_405
    assert parameters(model) - 1024 * 1024 - 1024 == 9_189_405 - 1_049_600


@pytest.mark.parametrize(
    ("builder", "shape"),
    [
        (neural_talk, (2, 4, 9)),
        pytest.param(deep_speech, (2, 12, 5), marks=pytest.mark.once),
        pytest.param(deep_speech_2, (2, 6, 5), marks=pytest.mark.once),
    ],
)
def test_a_small_network_returns_finite_float32_logits(builder, shape):
    model, inputs = small(builder)
    logits = values(model(inputs))
    assert logits.shape == shape and np.isfinite(logits).all()
    assert model.output.dtype == "float32"


def test_a_recording_may_have_any_number_of_frames():
    for builder, length in ((deep_speech, 7), (deep_speech_2, 4)):
        model = builder((None, 8), classes=5, width=0.005)
        assert model(frames()[:, :7]).shape == (2, length, 5)


@shapes_alone
@pytest.mark.parametrize(
    ("builder", "sparse", "dense"), [(neural_talk, 4, 0), (deep_speech, 7, 2), (deep_speech_2, 30, 2)]
)
def test_the_constructors_build_all_but_the_layers_that_are_never_cut(builder, sparse, dense):
    constructors = SPARSE | (
        {"recurrent": functools.partial(dsr.SparseLSTM, sparsity=0.5)} if builder is neural_talk else {}
    )
    model, _ = small(builder, **constructors)
    assert len(dsr.sparse_weights(model)) == sparse
    stock = [layer for layer in kernels(model) if type(layer).__module__.startswith("keras.")]
    assert len(stock) == dense
    if dense:
        assert isinstance(stock[0], layers.Conv1D if builder is deep_speech else layers.Conv2D)
        assert stock[0] is kernels(model)[0] and stock[1] is kernels(model)[-1]
    embeddings = [layer for layer in model.layers if isinstance(layer, layers.Embedding)]
    assert [type(layer) for layer in embeddings] == [layers.Embedding] * (builder is neural_talk)


def assert_same(outputs, expected):
    """Equal in every bit; on torch, whose sums may differ in the last one, nearly."""
    tolerance = 1e-7 if keras.backend.backend() == "torch" else 0
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("bidirectional", [layers.Bidirectional, dsr.SparseBidirectional])
@pytest.mark.parametrize("builder", [deep_speech, neural_talk])
@pytest.mark.slow_on("tensorflow")
def test_a_sparse_network_trains_and_its_stripped_file_is_keras_own(builder, bidirectional, tmp_path):
    recurrent = functools.partial(dsr.SparseLSTM if builder is neural_talk else dsr.SparseSimpleRNN, sparsity=0.5)
    model, inputs = small(builder, **SPARSE | {"recurrent": recurrent, "bidirectional": bidirectional})
    before = [weight.count() for weight in dsr.sparse_weights(model)]
    compiled(model, "sgd")
    model.fit(inputs, np.ones((2, model.output.shape[1]), "int32"), verbose=0)
    assert [weight.count() for weight in dsr.sparse_weights(model)] == before
    dsr.save(model, tmp_path / "stripped.keras")
    stripped = keras.models.load_model(tmp_path / "stripped.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in stripped._flatten_layers())
    assert_same(stripped.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    model.save(tmp_path / "whole.keras")
    whole = keras.models.load_model(tmp_path / "whole.keras")
    assert [weight.count() for weight in dsr.sparse_weights(whole)] == before
    np.testing.assert_array_equal(whole.predict(inputs, verbose=0), model.predict(inputs, verbose=0))


def test_deep_speech_2_is_stripped_to_keras_own_layers(tmp_path):
    model, inputs = small(deep_speech_2, **SPARSE)
    dsr.save(model, tmp_path / "stripped.keras")
    stripped = keras.models.load_model(tmp_path / "stripped.keras")
    assert_same(values(stripped(inputs)), values(model(inputs)))


def test_a_position_of_neural_talk_knows_the_image_and_the_words_up_to_it():
    model, inputs = small(neural_talk)
    logits = model.predict(inputs, verbose=0)
    later = model.predict(inputs | {"words": np.array([[1, 3, 8, 8], [1, 5, 8, 8]])}, verbose=0)
    np.testing.assert_array_equal(logits[:, :2], later[:, :2])
    assert (logits[:, 2] != later[:, 2]).any(axis=-1).all()
    other = model.predict(inputs | {"features": -inputs["features"]}, verbose=0)
    assert (logits != other).any(axis=-1).all()


@shapes_alone
def test_every_kernel_is_regularized():
    for builder, count in ((neural_talk, 4), (deep_speech, 9), (deep_speech_2, 32)):
        model, _ = small(builder, kernel_regularizer=keras.regularizers.L2(1e-4))
        assert len(model.losses) == count


@shapes_alone
@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("width", [0, -1, math.inf, math.nan])
def test_a_width_that_is_not_positive_is_refused(builder, width):
    with pytest.raises(
        ValueError, match=rf"{builder.__name__}\(width=\.\.\.\) must be a positive number.*Received: {width}"
    ):
        builder(width=width)
