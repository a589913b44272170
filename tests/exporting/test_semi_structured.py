"""Kernels for sparse tensor cores: which can be, what torch packs of them, and what is said where they cannot."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.exporting.semi_structured import call, obstacle, packable
from tests.helpers.networks import state_bits, values

on_torch = pytest.mark.backends("torch")


def network(dtype="mixed_bfloat16", pattern="2:4", inputs=64, units=32) -> keras.Model:
    def dense(units, activation=None):
        return dsr.SparseDense(units, activation, sparsity=0.5, pattern=pattern, dtype=dtype)

    return keras.Sequential([keras.Input((3, inputs)), dense(units, "relu"), keras.layers.Dense(5, dtype=dtype)])


def dense_layer(**settings) -> keras.layers.Dense:
    model = network(**settings)
    model.layers[0].bias.assign(np.linspace(-1, 1, model.layers[0].units))
    return dsr.strip(model).layers[0]


@on_torch
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_torch_packs_half_of_the_numbers_and_they_are_those_of_the_kernel(dtype):
    from torch.sparse import _semi_structured_conversions as conversions

    layer = dense_layer(dtype=dtype)
    assert obstacle(layer) is None
    kernel = packable(layer)
    numbers, places = conversions.sparse_semi_structured_from_dense_cutlass(kernel)
    assert tuple(kernel.shape) == (32, 64) and tuple(numbers.shape) == (32, 32)
    again = conversions.sparse_semi_structured_to_dense_cutlass(numbers, places)
    assert (again == kernel).all() and (kernel != 0).sum() == 32 * 32
    np.testing.assert_array_equal(
        values(again.T.float()), values(keras.ops.cast(layer.kernel, layer.compute_dtype).float())
    )


@on_torch
def test_the_product_has_bias_and_activation_and_any_number_of_axes():
    import torch

    layer = dense_layer()
    for shape in ((4, 64), (2, 3, 64), (2, 0, 64)):
        inputs = torch.rand(shape, dtype=torch.bfloat16)
        found = call(layer, packable(layer), inputs)  # dense: a CPU multiplies no packed kernel
        assert tuple(found.shape) == (*shape[:-1], 32)
        np.testing.assert_allclose(values(found.float()), values(layer(inputs).float()), rtol=0.02, atol=0.02)


@on_torch
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"dtype": "float32"}, "it computes in float32"),
        ({"pattern": "element"}, "more than two weights: train it with pattern='2:4'"),
        ({"inputs": 32}, "it has 32 inputs and 32 outputs, which must be multiples of 64 and 32"),
        ({"units": 40}, "it has 64 inputs and 40 outputs"),
    ],
)
def test_what_stands_in_the_way_of_a_layer_is_said(settings, why):
    assert why in obstacle(dense_layer(**settings))


@pytest.mark.parametrize("wrong", [None, 5, "model", keras.layers.Dense, object()])
def test_what_is_no_model_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match=r"semi_structured\(model=\.\.\.\)"):
        dsr.semi_structured(wrong)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match=r"semi_structured\(model=\.\.\.\)"):
        dsr.semi_structured(keras.Sequential([keras.layers.Dense(2)]))


def _has_sparse_tensor_cores() -> bool:
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


@pytest.mark.skipif(_has_sparse_tensor_cores(), reason="this machine has them")
def test_without_such_a_device_the_model_is_left_as_it_is():
    model = network()
    before = state_bits(model)
    with pytest.raises(
        ValueError, match=r"semi_structured\(\.\.\.\) needs Keras on torch and an NVIDIA GPU .* Received:"
    ):
        dsr.semi_structured(model)
    assert state_bits(model) == before and isinstance(model.layers[0], dsr.SparseDense)


@pytest.mark.skipif(not _has_sparse_tensor_cores(), reason="needs torch and a GPU with sparse tensor cores")
def test_a_gpu_multiplies_by_packed_kernels():
    model = network(inputs=128, units=128)
    inputs = np.random.default_rng(0).normal(size=(16, 3, 128)).astype("float32")
    before = model.predict(inputs, verbose=0)
    assert dsr.semi_structured(model) == [model.layers[0].name]
    np.testing.assert_allclose(model.predict(inputs, verbose=0), before, rtol=0.05, atol=0.05)
    with pytest.raises(ValueError, match="has no layer that sparse tensor cores can multiply"):
        dsr.semi_structured(network(pattern="element"))
