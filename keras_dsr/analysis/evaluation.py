"""What an evaluation of a model reads, and the figure by which the model is judged."""

import math
from collections.abc import Mapping

import keras
import numpy as np

from keras_dsr.arguments import LARGEST_STEP, is_whole
from keras_dsr.backend.keras_training import loss_names, metric_directions


def readable(data, batch_size: int | None, steps: int | None) -> dict:
    """The arguments by which `evaluate` reads data, as often as it is asked to.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, a tuple of arrays; or a data set that is no iterator.
        batch_size: int, of arrays alone, or None.
        steps: int, batches of each evaluation; None: all.

    Raises:
        ValueError: other data, or arguments that do not go with it.
    """
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and not (is_whole(value) and 1 <= value <= LARGEST_STEP):
            raise ValueError(
                f"sensitivity({name}=...) must be None or an int from 1 to {LARGEST_STEP}. Received: {name}={value!r}"
            )
    if isinstance(data, tuple):
        shapes = [tuple(np.shape(array)) for array in keras.tree.flatten(data)]
        sizes = {shape[0] if shape else 0 for shape in shapes}
        if len(data) not in (2, 3) or len(sizes) != 1 or 0 in sizes:
            raise ValueError(
                "sensitivity(data=...), as a tuple, must be (x, y) or (x, y, sample_weight): arrays with the same "
                f"number of examples, at least one. Received: a tuple of {len(data)} parts, with arrays of "
                f"shapes {shapes}"
            )
        return dict(zip(("x", "y", "sample_weight"), data))
    unreadable = (
        isinstance(data, (list, set, Mapping, str, bytes)) or hasattr(data, "shape") or hasattr(data, "__next__")
    )
    if unreadable or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(
            "sensitivity(data=...) must be a tuple of arrays (x, y), or a data set that can be read many times, such "
            "as a tf.data.Dataset or a keras.utils.PyDataset (a generator can be read once: collect it in arrays). "
            f"Received: {type(data).__name__}"
        )
    if batch_size is not None:
        raise ValueError(
            f"sensitivity(batch_size=...) is for arrays: a data set has batches. Received: batch_size={batch_size!r}"
        )
    endless = steps is None and hasattr(data, "cardinality") and int(data.cardinality()) == -1
    if endless:
        raise ValueError("sensitivity(data=...) is an endless data set: pass steps=, the batches of each evaluation.")
    return {"x": data}


def modes_of(model: keras.Model, logs: Mapping[str, float]) -> dict[str, str | None]:
    """Of each quantity that an evaluation gave whether `"max"` or `"min"` is better, metrics before losses.

    Metrics of Keras have a direction, the one by which `ModelCheckpoint(mode="auto")` decides. None: it is unknown.

    Args:
        model: a compiled model that has been evaluated.
        logs: what `model.evaluate(return_dict=True)` returned.
    """
    modes: dict[str, str | None] = {}
    for name, direction in metric_directions(model).items():
        modes[name] = {"up": "max", "down": "min"}.get(direction or "")
    modes.update({name: "min" for name in ("loss", *loss_names(model)) if name not in modes})
    return {name: modes[name] for name in modes if name in logs} | {name: None for name in logs if name not in modes}


def judged_by(metric: str | None, mode: str, modes: Mapping[str, str | None]) -> tuple[str, str]:
    """The name of the metric, and its mode, `"max"` or `"min"`.

    Args:
        metric: a name; None: the first.
        mode: `"max"`, `"min"`, or `"auto"`: as `modes` says.
        modes: see `modes_of`.

    Raises:
        ValueError: there is no such metric, or its mode is unknown.
    """
    metric = next(iter(modes)) if metric is None else metric
    if metric not in modes:
        raise ValueError(
            f"sensitivity(metric=...) must be a metric that the model is compiled with: {', '.join(map(repr, modes))}. "
            f"Received: metric={metric!r}"
        )
    known = modes[metric] if mode == "auto" else mode
    if known is None:
        raise ValueError(
            f"sensitivity(mode='auto') needs to know whether a larger {metric!r} is better, and the metric does not "
            "say. Pass mode='max' or mode='min'."
        )
    return metric, known


def finite(metric: str, value) -> float:
    """The metric of a model as it is, as a float; raises `ValueError` if it is no finite number."""
    if np.ndim(value) or not math.isfinite(value):
        raise ValueError(
            f"sensitivity(model) compares with the metric of the model as it is, and its {metric!r} is no finite "
            f"number. Received: {value!r}. Train the model, or choose another metric=."
        )
    return float(value)
