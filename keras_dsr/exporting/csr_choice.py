"""Which layers of a model multiply by CSR: those where that was measured to be faster, at every size they meet."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_dsr.backend.keras_export import tensor_specs
from keras_dsr.backend.keras_layers import kernel_of, walk
from keras_dsr.exporting.csr_kinds import is_product, matrix_of
from keras_dsr.exporting.csr_layers import recording_rows
from keras_dsr.exporting.csr_timing import ProductTime, measure
from keras_dsr.progress import with_progress

# How much faster CSR must be measured to be at each batch size: single layers are timed, on machines that others share.
MARGIN = 1.1


class LayerChoice(NamedTuple):
    """What was measured of a layer, and what it multiplies by.

    Attributes:
        layer: the layer.
        density: the fraction of its kernel that is not zero.
        times: a `ProductTime` for each number of rows that the layer meets at the batch sizes asked for.
        by_csr: whether it multiplies by CSR.
    """

    layer: keras.layers.Layer
    density: float
    times: tuple[ProductTime, ...]
    by_csr: bool


def choose_products(
    model: keras.Model, layers: list[keras.layers.Layer], signature: list, batch_sizes: Sequence[int]
) -> list[LayerChoice]:
    """Time the products of layers at batch sizes, and choose CSR where it is faster by `MARGIN` each time.

    Args:
        model: a built Keras model of stock layers.
        layers: layers of it for which `is_product` holds, none of them without a weight.
        signature: the input signature of the model.
        batch_sizes: ints of at least 1.

    Raises:
        ValueError: the signature leaves open in how many rows a layer gets its inputs.
    """
    rows = _rows_of_calls(model, layers, signature)
    choices = []
    for layer in with_progress(layers, "Timing products"):
        matrix = matrix_of(keras.ops.convert_to_numpy(kernel_of(layer)))
        sizes = sorted({batch * count for batch in batch_sizes for count in rows[layer]})
        times = tuple(measure(matrix, size) for size in sizes)
        by_csr = bool(times) and all(taken.speedup >= MARGIN for taken in times)
        choices.append(LayerChoice(layer, float((matrix != 0).mean()), times, by_csr))
    return choices


def product_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a built model of stock layers that can multiply by CSR, each once."""
    return [layer for layer, _ in walk(model) if is_product(layer) and layer.built]


def _rows_of_calls(model: keras.Model, layers: list, signature: list) -> dict[keras.layers.Layer, list[int]]:
    """In how many rows for one example each layer gets its inputs, at each of its calls in the model."""
    with recording_rows(layers) as rows:
        specs = tensor_specs(signature)
        tf.function(lambda *inputs: model(*inputs), input_signature=specs, autograph=False).get_concrete_function()
    unknown = [layer.name for layer in layers if None in rows[layer]]
    if unknown:
        raise ValueError(
            f"kernels='auto' times the products of {unknown[0]!r} at the sizes that it will meet, and the input "
            "signature leaves them open: pass input_signature=[keras.InputSpec(shape=(None, 224, 224, 3), ...)] with "
            "every size but the batch's."
        )
    return rows
