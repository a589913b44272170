"""LiteRT files in int8: quantized after training, with zeros that stay zeros, and sparse where that is smaller.

Weights have the zero point 0, so that a pruned weight is a 0 in int8, too (Jacob et al., CVPR 2018, arXiv 1712.05877,
with symmetric weights).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_dsr.exporting.litert.graph import LiteRTGraph, replace_input
from keras_dsr.exporting.litert.sparsity import packed

MOST = 512  # examples that are used


class Difference(NamedTuple):
    """What quantization changed, over the examples of the calibration.

    Attributes:
        examples: number of them.
        largest: largest difference of an output, as a fraction of the largest output.
        same: fraction of the examples whose largest output is the same; None where outputs are single numbers.
    """

    examples: int
    largest: float
    same: float | None

    def __str__(self) -> str:
        same = "" if self.same is None else f"; the largest output is the same in {self.same:.1%}"
        return (
            f"int8 beside float32, {self.examples} examples of the calibration: outputs differ by {self.largest:.2%} "
            f"of the largest at most{same}."
        )


class Examples(NamedTuple):
    """Inputs of a model, by name, in batches as its file takes them."""

    batches: list[dict[str, np.ndarray]]

    def outputs_of(self, run: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The outputs of all examples, by name."""
        parts = [dict(run(batch)) for batch in self.batches]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def examples_of(calibration: Any, model: keras.Model, specs: Mapping[str, Any]) -> Examples:
    """At most `MOST` examples, one by one where the model takes any number.

    Args:
        calibration: inputs as `model.predict` takes them, or an iterable of batches, `(inputs, ...)` in a tuple or not.
        model: the model.
        specs: what the exported function takes: shapes by name.

    Raises:
        ValueError: it has fewer examples than the model takes at once, or other inputs or shapes.
    """
    names = list(specs) if len(specs) == 1 else [tensor.name for tensor in keras.tree.flatten(model.inputs)]
    expected = [tuple(specs[name].shape) for name in names]
    found: list[list[np.ndarray]] = [[] for _ in names]
    count = 0
    for batch in _batches(calibration):
        arrays = [np.asarray(part) for part in keras.tree.flatten(batch)]
        shapes = [array.shape for array in arrays]
        fits = len(arrays) == len(names) and all(map(_fits, shapes, expected))
        if not fits or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(
                f"export(calibration=...) must have inputs of the model, of the shapes {expected} with the examples "
                f"first. Received: calibration=... with the shapes {shapes}"
            )
        for parts, array, name in zip(found, arrays, names):
            parts.append(array.astype(specs[name].dtype.as_numpy_dtype))
        count += len(arrays[0])
        if count >= MOST:
            break
    size = expected[0][0] or 1
    if count < size:
        raise ValueError(
            f"export(calibration=...) must have at least {size} example(s): from their outputs the ranges of int8 are "
            f"taken. Received: calibration=... with {count}, of type {type(calibration).__name__}"
        )
    whole = {name: np.concatenate(parts) for name, parts in zip(names, found)}
    starts = range(0, min(count, max(MOST, size)) - size + 1, size)
    return Examples([{name: array[at : at + size] for name, array in whole.items()} for at in starts])


def _batches(calibration: Any) -> Iterator:
    is_structure = isinstance(calibration, (Mapping, list, tuple, np.ndarray)) or hasattr(calibration, "__array__")
    if is_structure:
        yield calibration
        return
    try:
        batches = iter(calibration)
    except TypeError as error:
        raise ValueError(
            "export(calibration=...) must be inputs as `model.predict` takes them, or a dataset of batches of them. "
            f"Received: calibration={calibration!r}"
        ) from error
    for batch in batches:
        yield batch[0] if isinstance(batch, tuple) else batch


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    sizes = zip(shape[1:], expected[1:])
    return len(shape) == len(expected) and all(wanted in (None, size) for size, wanted in sizes)


def store_sparse_convolutions(graph: LiteRTGraph) -> None:
    """Store kernels of convolutions sparse where that takes fewer bytes. They are unpacked when the file is loaded."""
    for operator in [one for one in graph.operators if graph.kind(one) == "CONV_2D"]:
        kernel = int(operator.inputs[1])
        values = graph.constant(kernel)
        if values is None or values.dtype != "int8" or graph.source(kernel) or len(graph.readers(kernel)) > 1:
            continue
        stored, sparsity = packed(values)
        if stored.nbytes + sparsity.dimMetadata[-1].arrayIndices.values.nbytes < 0.9 * values.nbytes:
            graph.store(kernel, values, 1)
            unpacked = graph.like(kernel, "unpacked")
            graph.add_operator(0, "DENSIFY", [kernel], unpacked)
            replace_input(operator, kernel, unpacked)


def difference(outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> Difference:
    """What quantization changed of the outputs."""
    name = next(iter(expected))
    count = len(expected[name])
    scale = max(float(np.abs(value).max(initial=0)) for value in expected.values())
    largest = max(float(np.abs(outputs[one] - value).max(initial=0)) for one, value in expected.items())
    same = None
    if expected[name].ndim > 1 and expected[name].shape[-1] > 1:
        same = float((outputs[name].argmax(-1) == expected[name].argmax(-1)).mean())
    return Difference(count, largest / scale if scale else 0.0, same)
