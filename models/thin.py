"""Thin dense networks (Mostafa & Wang 2019, arXiv 1902.05967): as small as a sparse network, by its width alone."""

import bisect
import functools
import inspect
import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
from keras import layers

from keras_dsr.ops.initial_masks import active_units, check_sparsity

BITS = 32  # of a weight; a place of the mask takes one


def thin_width(model: Callable[..., keras.Model], sparsity: float) -> float:
    """The width at which a dense network has as many parameters as a sparse network of the builder's own width.

    The sparse network counts its active weights, its dense parameters (the kernels that are always dense, biases, batch
    norms) and a mask of one bit a position: a thirty-second of a parameter for every place of a sparse kernel.

    Args:
        model: a builder with an argument `width` and with `conv`, `dense` or both, such as `models.wide_resnet`, or
            `functools.partial` of one. The sparse network has the default width, or the one that the partial gives by
            keyword; a `conv` or `dense` of the partial makes no difference.
        sparsity: float in [0, 1), the fraction of zeros in each kernel that `conv` and `dense` build.

    Returns:
        The width whose number of trainable parameters is nearest: a whole number of hundredths, at least 0.01. Where
        several widths round to the same network: the largest of a smaller network, the smallest of a larger one. The
        paper's own widths lie within 0.01 of these: 0.75, 0.98, 1.15, 1.33, 1.47 for WRN-28 at sparsity 0.9, 0.8 ...
        0.5, and 0.46, 0.54 for ResNet-50 at 0.9, 0.8.

    Raises:
        ValueError: `sparsity` outside [0, 1), or a builder without these arguments.

    Example:

    >>> width = models.thin_width(functools.partial(models.wide_resnet, 28), sparsity=0.9)
    >>> width
    0.75
    >>> model = models.wide_resnet(28, width)
    """
    sparsity = check_sparsity(sparsity, "thin_width")
    stock, width = _arguments(model)
    # Building draws seeds from Python's random numbers, and names from counters of which Keras has a set per thread: a
    # model that is built after this call is the same as without it.
    state = random.getstate()
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_search, model, stock, width, sparsity).result()
    finally:
        random.setstate(state)


def _arguments(model):
    """The stock layers by the builder's arguments that take them, and the width of the sparse network."""
    parameters = inspect.signature(model).parameters if callable(model) else {}
    stock = {"conv": layers.Conv2D, "dense": layers.Dense}
    stock = {argument: layer for argument, layer in stock.items() if argument in parameters}
    width = parameters["width"].default if "width" in parameters else inspect.Parameter.empty
    if not stock or width is inspect.Parameter.empty:
        raise ValueError(
            "thin_width(model=...) must be a builder with a default `width` and with `conv` or `dense`, such as "
            "models.wide_resnet or functools.partial(models.wide_resnet, depth=16, width=4): a partial gives these by "
            f"keyword. Received: model={model!r}"
        )
    return stock, width


def _search(model, stock, width, sparsity):
    """The nearest width, by bisection: a wider network has more parameters."""
    total, places = _parameters(model, stock, width)
    target = total - sum(places) + sum(active_units(count, sparsity) for count in places) + sum(places) / BITS

    @functools.cache
    def excess(hundredths):
        return _parameters(model, stock, hundredths / 100)[0] - target

    # With few zeros the mask takes more than they save, a thirty-second at the most: twice the width is enough.
    above = bisect.bisect_left(range(math.ceil(200 * width) + 1), 0, lo=1, key=excess)
    candidates = [above - 1, above] if above > 1 else [above]
    return min(candidates, key=lambda hundredths: abs(excess(hundredths))) / 100


def _parameters(model, stock, width):
    """The trainable parameters of the dense network, and the positions of each kernel that may be sparse."""
    made = []

    def noted(layer):
        return lambda *args, **kwargs: made.append(layer(*args, **kwargs)) or made[-1]

    constructors = {argument: noted(layer) for argument, layer in stock.items()}
    # Only shapes are needed: in this scope the variables get no values.
    with keras.StatelessScope(initialize_variables=False):
        built = model(width=width, **constructors)
    total = sum(math.prod(variable.shape) for variable in built.trainable_variables)
    return total, [math.prod(layer.kernel.shape) for layer in made]
