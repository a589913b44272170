"""What is said of a LiteRT file: the form of each fully connected layer, by the name of its weight."""

from typing import NamedTuple

import keras
import numpy as np


class LiteRTContent(NamedTuple):
    """What a file holds.

    Attributes:
        forms: a `FormRow` for each fully connected layer, with `kernels="auto"`.
        convolutions: whether sparse convolutions are multiplied sparse, and where, in words; empty if there are none.
        quantization: what int8 changed of the outputs, in words; empty of a file in float32.
    """

    forms: tuple["FormRow", ...]
    convolutions: str
    quantization: str = ""


class FormRow(NamedTuple):
    """The form in which a file holds the weights of a fully connected layer.

    Attributes:
        name: path of the weight, or the shape of the product where it is of no weight alone.
        density: fraction of the weights that are not zero.
        speedups: pairs of the rows multiplied at once and, by form, how many times as fast as dense it was.
        form: `"dense"`; `"unpacked"`, sparse, unpacked once when the file is loaded; `"single"` weights or `"blocks"`
            of 4 inputs (of 16 in int8), multiplied as they are stored.
        why: in words.
    """

    name: str
    density: float
    speedups: tuple[tuple[int, dict[str, float]], ...]
    form: str
    why: str


def weights_by_name(model: keras.Model) -> list[tuple[str, np.ndarray]]:
    """The path of each weight of a model of more than one axis, and its values."""
    weights = [variable for variable in model.weights if len(variable.shape) > 1]
    return [(variable.path, keras.ops.convert_to_numpy(variable)) for variable in weights]


def name_of(kernel: np.ndarray, names: list[tuple[str, np.ndarray]]) -> str:
    """The path of the weight that a kernel is: with its zeros (the converter may have scaled its rows) or, in int8,
    nearly its values."""
    outputs, inputs = kernel.shape
    same_size = [(path, values.reshape(inputs, outputs).T) for path, values in names if values.size == kernel.size]
    for path, values in same_size:
        if np.array_equal(values != 0, kernel != 0):
            return path
    for path, values in same_size:
        product = float((values * kernel).sum())
        if product > 0.9 * float(np.linalg.norm(values) * np.linalg.norm(kernel.astype("float32"))):
            return path
    return f"{inputs} x {outputs}"
