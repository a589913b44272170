"""Networks with zeros in them, and what the tests of shrinking compare."""

import keras
import numpy as np

from keras_dsr.shrinking import shrink
from tests.helpers.networks import values


def fill(model: keras.Model, density: float, seed: int) -> keras.Model:
    """Give every weight of a model a random value, and set kernels to zero but for a share of their positions."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            drawn = rng.normal(size=variable.shape)
            if variable.name == "moving_variance":
                drawn = np.abs(drawn) + 0.1
            elif "kernel" in variable.name:
                drawn = drawn * (rng.random(variable.shape) < density)
            elif variable.name in ("gamma", "bias"):
                drawn = drawn * (rng.random(variable.shape) < 0.8)
            variable.assign(drawn.astype("float32"))
    return model


def outputs(model: keras.Model, seed: int = 0, batch: int = 3) -> list[np.ndarray]:
    """What a model returns for random inputs."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(batch, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    sequential = isinstance(model, keras.Sequential)
    returned = model(inputs[0] if sequential else keras.tree.pack_sequence_as(model.input, inputs), training=False)
    return [values(one).astype("float64") for one in keras.tree.flatten(returned)]


def shrunk(model: keras.Model, tolerance: float = 1e-4):
    """The report of `shrink`, with all that must always hold of it checked."""
    before = [values(variable) for variable in model.variables]
    expected = outputs(model)
    report = shrink(model)
    for one, other in zip(outputs(report.model), expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1, np.abs(other).max()))
    for one, other in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(values(one), other)
    assert report.parameters == tuple(
        sum(weight.size for weight in map(values, one.weights)) for one in (model, report.model)
    )
    assert report.parameters[1] <= report.parameters[0]
    return report


def units(report) -> dict[str, tuple[int, int]]:
    return {row.name: row.units for row in report.rows}
