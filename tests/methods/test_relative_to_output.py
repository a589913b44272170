"""Growth by gradients relative to those of the same output, with which no output takes what all have."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.layers.units_by_pattern import outputs_of
from keras_dsr.methods import SNFS, RigL, StraightThrough, TopKAST
from keras_dsr.methods.growth import relative_to_output
from keras_dsr.ops.units import SINGLE, Blocks, Slices
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import values
from tests.helpers.views import split, updated, view

LATER = 10**7
METHODS = [
    RigL(0.5, LATER, relative_to_output=True),
    SNFS(0.5, LATER, relative_to_output=True),
    StraightThrough(relative_to_output=True),
    TopKAST(relative_to_output=True),
]


def relative(*magnitudes, units=None) -> list:
    """What is made of these magnitudes, by tensor."""
    seen = view(magnitudes, [np.ones(one.shape, bool) for one in magnitudes], units)
    return split(seen, relative_to_output(seen, seen.magnitudes))


def test_each_output_has_a_root_mean_square_of_one():
    kernel = np.array([[3, 300, 0], [4, 400, 0]], "float32")
    size = np.sqrt((9 + 16) / 2)

    (scores,) = relative(kernel)

    np.testing.assert_allclose(scores, [[3 / size, 3 / size, 0], [4 / size, 4 / size, 0]], rtol=1e-6)


def test_what_is_no_matrix_stays():
    bias = np.array([1, 20, 3], "float32")
    np.testing.assert_array_equal(relative(bias)[0], bias)


def test_growth_is_shared_by_outputs_where_one_has_all_large_gradients():
    weights = np.zeros((4, 3), "float32")
    weights[:2] = [[3, 2, 1], [0.1, 0.2, 0.3]]  # the second row is dropped
    gradients = np.array([[0, 0, 0], [0, 0, 0], [1e4, 2, 3e-3], [2e4, 1, 1e-3]])
    seen = view([weights], [weights > 0], gradients=[gradients])

    def grown(method):
        _, (mask,), _ = updated(method, seen, method.init(seen))
        return np.flatnonzero(values(mask)[2:]).tolist()

    assert grown(RigL(0.5, LATER)) == [0, 1, 3]
    assert grown(RigL(0.5, LATER, relative_to_output=True)) == [1, 2, 3]


@pytest.mark.backends("tensorflow", "torch")
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    exponent=st.integers(-36, 36),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_what_numpy_computes_and_finite(shape, exponent, seed):
    random = np.random.default_rng(seed)
    kernel = (random.random(shape) * 10.0**exponent * random.choice([0, 1], shape[-1:])).astype("float32")

    (scores,) = relative(kernel)

    exact = kernel.astype("float64")
    size = np.sqrt(np.square(exact).mean(tuple(range(exact.ndim - 1)), keepdims=True))
    expected = exact / np.where(size > 0, size, 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4 if exponent > -30 else 1)


def test_slices_blocks_and_transposed_kernels_belong_to_their_outputs():
    assert outputs_of(None, "kernel", (3, 3, 4, 5), SINGLE).groups == 5
    assert outputs_of(None, "kernel", (3, 3, 4, 5), Slices((0, 1))).view == (1, 4, 5)
    blocks = Blocks((4, 1), (1, 10, 6))
    assert outputs_of(None, "kernel", (10, 6), blocks).view == (1, 3, 6)
    transposed = keras.layers.Conv2DTranspose(5, 3)
    transposed.build((None, 8, 8, 4))
    shape = tuple(transposed.kernel.shape)
    outputs = outputs_of(transposed, "kernel", shape, SINGLE)
    assert outputs.groups == 5
    by_output = values(outputs.fold(keras.ops.arange(3 * 3 * 5 * 4)))
    np.testing.assert_array_equal(by_output[1] // 4 % 5, 1)
    assert outputs_of(None, "bias", (5,), SINGLE) is None


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_networks_with_every_kind_of_layer_move_by_it(method):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            dsr.SparseConv2D(4, 3, sparsity=0.5),
            dsr.SparseConv2DTranspose(3, 2, sparsity=0.5),
            keras.layers.Reshape((25, 3)),
            dsr.SparseEinsumDense("abc,cde->abde", (25, 2, 3), sparsity=0.5),
            keras.layers.Flatten(),
            dsr.SparseDense(4, sparsity=0.8),
        ]
    )
    model.compile("sgd", "mse")
    counts = sum(one.count() for one in dsr.sparse_weights(model))
    before = [one.positions() for one in dsr.sparse_weights(model)]
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    model.fit(x, x[:, 0, :2].reshape(8, 4), epochs=2, verbose=0, callbacks=[dsr.Reallocate(method, period=1)])
    after = [one.positions() for one in dsr.sparse_weights(model)]
    assert sum(map(len, after)) == counts
    assert any(set(old) != set(new) for old, new in zip(before, after))


@pytest.mark.parametrize("method", METHODS[:1], ids=lambda method: type(method).__name__)
def test_compact_storage_refuses_it_in_words(method):
    model = keras.Sequential([keras.Input((9,)), dsr.SparseDense(5, sparsity=0.9, storage="compact")])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"RigL\(relative_to_output=True\) needs the gradients of all weights of an o"):
        Reallocation(model, method)


@pytest.mark.parametrize("kind", [RigL, SNFS, StraightThrough, TopKAST])
def test_it_is_a_flag(kind):
    with pytest.raises(ValueError, match=kind.__name__ + r"\(relative_to_output=...\) must be True or False"):
        kind(relative_to_output="yes")
