"""Pruning at initialization: masks by what weights are worth before a network is trained."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import LARGEST_STEP, check_model, drawn_seed, is_one_of, is_whole
from keras_dsr.backend.gradients import gradients, with_values
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.initial_masks import check_sparsity
from keras_dsr.ops.patterns import Pattern, check_pattern
from keras_dsr.ops.units import Groups, Units
from keras_dsr.selectors.candidates import Candidate
from keras_dsr.selectors.language import Selector, built_candidates, choose

METHODS = ("snip", "grasp", "synflow", "magnitude", "random")
OWNER = "masks_at_initialization"


class Scored(NamedTuple):
    """A weight with what its units are worth.

    Attributes:
        weight: the candidate.
        units: what it is made of.
    """

    weight: Candidate
    units: Units


def masks_at_initialization(
    model: keras.Model,
    data: tuple | None = None,
    method: str = "snip",
    sparsity: float = 0.9,
    include: Selector | Iterable[Selector] = (),
    exclude: Selector | Iterable[Selector] = (),
    pattern: Pattern = "element",
    rounds: int = 100,
    seed: int | None = None,
) -> dict[str, np.ndarray]:
    """Masks for a network that has not been trained, by what its weights are worth. The model is not changed.

    The units of all weights are ranked together, one stays in each weight, and exactly `round((1 - sparsity) * units)`
    stay in all:

    >>> masks = keras_dsr.masks_at_initialization(model, (x[:512], y[:512]), sparsity=0.98)
    >>> keras_dsr.sparsify(model, mask=masks)

    Args:
        model: a built Keras model, for the methods that look at data compiled with its loss.
        data: `(x, y)`, a batch of examples as `fit` takes them, some ten of each class; for SNIP and GraSP.
        method: `"snip"`: |w * g|, with the gradient g of the loss (Lee, Ajanthan & Torr, ICLR 2019, arXiv 1810.02340,
            eq. 6). `"grasp"`: w * (H g), what the gradient's norm loses without the weight, with the Hessian H (Wang,
            Zhang & Grosse, ICLR 2020, arXiv 2002.07376, eq. 8); single weights alone. `"synflow"`: |w * dR/dw|, with R
            the sum of the outputs for an input of ones and all weights made positive, pruned in rounds (Tanaka, Kunin,
            Yamins & Ganguli, NeurIPS 2020, arXiv 2006.05467, Algorithm 1); no data. `"magnitude"`: |w|. `"random"`.
        sparsity: float in [0, 1), of all these weights together.
        include, exclude: which weights, as `sparsify`.
        pattern: what is kept as a whole, as `sparsify`, but for patterns whose groups have a number of their own.
        rounds: int, of SynFlow: the density falls by the same factor in each.
        seed: int, of `"random"`. None draws one.

    Returns:
        A dict of bool arrays by the paths of the weights, for `sparsify(mask=...)`.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: an argument out of range, a method that needs data without them, a model that is not compiled, fewer
            units than weights to spread them over, or a worth that is not finite.
    """
    check_model(model, OWNER)
    if not is_one_of(method, METHODS):
        raise ValueError(
            f"{OWNER}(method=...) must be one of {', '.join(map(repr, METHODS))}. Received: method={method!r}"
        )
    sparsity, pattern = check_sparsity(sparsity, OWNER), check_pattern(pattern, OWNER)
    if not is_whole(rounds) or not 1 <= rounds <= LARGEST_STEP:
        raise ValueError(f"{OWNER}(rounds=...) must be a positive int, such as 100. Received: rounds={rounds!r}")
    seed = drawn_seed(seed, OWNER, "seed")
    found, _ = built_candidates(model, OWNER)
    chosen, _ = choose(found, include, exclude, OWNER)
    if not chosen:
        raise ValueError(
            f"{OWNER}(include=..., exclude=...) must leave weights that could be sparse, and there are none. Received: "
            f"include={include!r}, exclude={exclude!r}"
        )
    weights = [
        Scored(one, units_of(cast(keras.layers.Layer, one.layer), one.role, one.shape, pattern)) for one in chosen
    ]
    _check_pattern(weights, method)
    values = [ops.convert_to_numpy(one.weight.variable).astype("float32") for one in weights]
    if method in ("snip", "grasp"):
        _check_data(model, data, method)
        loss = with_values([one.weight.variable for one in weights], _loss(model, cast(tuple, data)))
        slope = gradients(loss, values)
        if method == "grasp":
            slope = gradients(loss, values, slope)
        worth = [value * gradient for value, gradient in zip(values, slope)]
    elif method == "synflow":
        return _synflow(model, weights, values, sparsity, rounds)
    else:
        rng = np.random.default_rng(seed)
        worth = values if method == "magnitude" else [rng.random(value.shape, "float32") + 0.5 for value in values]
    signed = method == "grasp"
    return _largest(weights, [one if signed else _of_units(of, one) for of, one in zip(weights, worth)], sparsity)


def _of_units(of: Scored, worth: np.ndarray) -> np.ndarray:
    return of.units.magnitudes(worth, np)


def _largest(weights: list[Scored], worth: list[np.ndarray], sparsity: float) -> dict[str, np.ndarray]:
    """The masks of the units that are worth most, one at least in each weight; ties go to the first."""
    flat = [np.asarray(one, "float64").reshape(-1) for one in worth]
    for of, one in zip(weights, flat):
        if not np.isfinite(one).all():
            raise ValueError(
                f"What the weights of {of.weight.name!r} are worth is not finite. Received: a loss or outputs whose "
                "gradients overflow: normalize the inputs, or use another method."
            )
    total = sum(one.size for one in flat)
    number = max(1, round((1 - sparsity) * total))
    if number < len(flat):
        raise ValueError(
            f"{OWNER}(sparsity=...) must leave one unit in each of the {len(flat)} weights. Received: "
            f"sparsity={sparsity!r}, which leaves {number} of {total:,}"
        )
    ends = np.cumsum([0, *(one.size for one in flat)])
    joined = np.concatenate(flat)
    first = np.array([start + one.argmax() for start, one in zip(ends, flat)])
    joined[first] = np.inf
    kept = np.zeros(total, bool)
    kept[np.argsort(-joined, kind="stable")[:number]] = True
    masks = {}
    for of, start, end in zip(weights, ends, ends[1:]):
        units = kept[start:end].reshape(of.units.shape(of.weight.shape))
        masks[of.weight.name] = np.array(of.units.mask(units, of.weight.shape, np))
    return masks


def _synflow(
    model: keras.Model, weights: list[Scored], values: list[np.ndarray], sparsity: float, rounds: int
) -> dict[str, np.ndarray]:
    """Prune in rounds, each by the flow through what is left."""
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"{OWNER}(method='synflow') sends ones through the inputs that a functional or sequential model knows. "
            f"Received: model={model!r}, a class of its own. Use method='snip' or 'grasp', with data."
        )
    variables = model.trainable_variables
    sizes = {id(one.weight.variable): index for index, one in enumerate(weights)}
    shapes = keras.tree.map_structure(lambda tensor: (1, *tensor.shape[1:]), model.inputs)
    ones = [np.ones([size or 1 for size in shape], "float32") for shape in shapes]

    def flow():
        outputs = model(ones[0] if len(ones) == 1 else ones, training=False)
        return sum(ops.sum(ops.cast(part, "float32")) for part in keras.tree.flatten(outputs))

    function, masks = with_values(variables, flow), [np.ones(value.shape, bool) for value in values]
    found: dict[str, np.ndarray] = {}
    for number in range(1, rounds + 1):
        at = [np.abs(ops.convert_to_numpy(variable)).astype("float32") for variable in variables]
        for index, variable in enumerate(variables):
            if id(variable) in sizes:
                at[index] = np.where(masks[sizes[id(variable)]], at[index], np.float32(0))
        slopes = dict(zip(map(id, variables), gradients(function, at)))
        places = dict(zip(map(id, variables), at))
        worth = [_of_units(one, places[id(one.weight.variable)] * slopes[id(one.weight.variable)]) for one in weights]
        found = _largest(weights, worth, 1 - (1 - sparsity) ** (number / rounds))
        masks = [found[one.weight.name] for one in weights]
    return found


def _loss(model: keras.Model, data: tuple) -> Callable[[], Any]:
    """The loss that the model is compiled with, of these examples, as in training."""
    x, y = (keras.tree.map_structure(ops.convert_to_tensor, part) for part in data)

    def loss():
        return model.compute_loss(x=x, y=y, y_pred=model(x, training=True), training=True)

    return loss


def _check_data(model: keras.Model, data, method: str) -> None:
    if not isinstance(data, tuple) or len(data) != 2:
        received = f"a tuple of {len(data)} parts" if isinstance(data, tuple) else type(data).__name__
        raise ValueError(
            f"{OWNER}(data=...) must be (x, y), a batch of examples: {method!r} goes by their loss. "
            f"Received: {received}"
        )
    sizes = {np.shape(part)[0] if np.ndim(part) else 0 for part in keras.tree.flatten(data)}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"{OWNER}(data=...) must have as many targets as inputs, at least one. Received: {sorted(sizes)}"
        )
    if not getattr(model, "compiled", False):
        raise ValueError(
            f"{OWNER}(model=...) must be compiled with the loss that {method!r} goes by. Call "
            f"`model.compile(optimizer, loss)` first, or use method='synflow'. Received: model={model!r}, which is "
            "not compiled"
        )


def _check_pattern(weights: list[Scored], method: str) -> None:
    for of in weights:
        if isinstance(of.units, Groups):
            raise ValueError(
                f"{OWNER}(pattern=...) must have units that are ranked together, and {of.weight.name!r} would be of "
                f"{of.units}. Use 'element', 'kernel' or blocks, or `sparsify(mask='magnitude')`."
            )
        if method == "grasp" and not of.units.are_single:
            raise ValueError(
                f"{OWNER}(method='grasp') ranks single weights, whose worth has a sign. Received: {of.units} in "
                f"{of.weight.name!r}. Use pattern='element', or another method."
            )
