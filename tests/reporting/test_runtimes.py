"""Which runtimes use the sparsity of a model: said of its own kernels."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.reporting.kernels import Kernel, kernels_of
from keras_dsr.reporting.runtimes import runtimes_for

pytestmark = pytest.mark.once


def network(pattern, sparsity=0.5):
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            dsr.SparseConv2D(8, 3, sparsity=sparsity, pattern=pattern, name="convolution"),
            dsr.SparseConv2DTranspose(8, 2, sparsity=sparsity, pattern=pattern, name="transpose"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, name="dense"),
        ]
    )


def of_nvidia(model):
    return next(runtime for runtime in runtimes_for(kernels_of(model)) if "NVIDIA" in runtime.name)


@pytest.mark.parametrize(("pattern", "sparsity"), [("2:4", 0.5), ("1:4", 0.75)])
def test_kernels_with_two_of_four_inputs_are_named(pattern, sparsity):
    found = of_nvidia(network(pattern, sparsity))
    assert found.faster == "yes"
    assert "as 2 of the 2 sparse kernels have: " in found.why
    assert "convolution/kernel" in found.why
    assert "transpose/kernel" in found.why


@settings(max_examples=20)
@given(
    active=st.integers(0, 3),
    shape=st.tuples(*[st.integers(1, 3)] * 4),
    is_transposed=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_what_fits_is_counted_by_the_groups_of_the_mask(active, shape, is_transposed, seed):
    """At most two of each four inputs, counted in the dense mask."""
    rows, columns, inputs, outputs = shape[0], shape[1], 4 * shape[2], shape[3]
    rng = np.random.default_rng(seed)
    places = rng.random((rows, columns, outputs, inputs // 4, 4)).argsort(-1)
    mask = (places < active).reshape(rows, columns, outputs, inputs)
    mask.reshape(-1)[rng.integers(mask.size)] = True
    layer = (keras.layers.Conv2DTranspose if is_transposed else keras.layers.Conv2D)(outputs, (rows, columns))
    layer.build((1, 9, 9, inputs))
    held = mask if is_transposed else np.moveaxis(mask, -1, -2)
    kernel = Kernel("kernel", layer, (), "kernel", held.shape, layer.kernel, np.flatnonzero(held))
    assert kernel.fits_sparse_tensor_cores == bool((mask.reshape(-1, 4).sum(1) <= 2).all())


def test_zeros_that_lie_anywhere_are_of_no_use_to_them():
    found = of_nvidia(network("element"))
    assert (found.faster, "None of the sparse kernels has." in found.why) == ("no", True)


def test_what_is_stripped_is_known_by_its_zeros():
    model = network("2:4")
    assert of_nvidia(dsr.strip(model)).faster == "yes"
