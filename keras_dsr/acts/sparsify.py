"""Make a model that exists sparse, in place, and report what was made sparse, what was not, and why."""

import re
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np
from keras import ops

from keras_dsr.acts.sparsify_report import SkippedRow, SparseRow, SparsifyReport
from keras_dsr.decisions.distribution import active_counts, check_distribution
from keras_dsr.decisions.initial_mask import (
    active_units,
    check_granularity,
    check_mask,
    check_sparsity,
    count_units,
    magnitude_mask,
    random_mask,
)
from keras_dsr.layers.masked import drawn_seed, unit_axes_of
from keras_dsr.seam.candidates import Candidate, candidates, unbuilt_layers
from keras_dsr.seam.conversion import convert

NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)

Selector = keras.layers.Layer | type | str
Distribution = str | Mapping[Selector, float] | Callable[[Candidate], float]


def sparsify(
    model: keras.Model,
    sparsity: float = 0.9,
    distribution: Distribution = "uniform",
    include: Selector | Iterable[Selector] = (),
    exclude: Selector | Iterable[Selector] = (),
    granularity: str = "element",
    mask: str = "random",
    seed: int | None = None,
) -> SparsifyReport:
    """Make a built model sparse, in place: sequential, functional, subclassed or nested, with layers shared or not.

    Layers of Keras get their sparse classes; the weights that stay keep their values, the graph stays as it is, and so
    does the optimizer of a compiled model (its slots start over where weights are cut). A layer that cannot be treated
    is left as it is, and the report says why. Left dense unless they are included: biases, normalization, embeddings,
    depthwise kernels, frozen weights.

    Args:
        model: a built Keras model.
        sparsity: float in [0, 1), the share of weights that are zero.
        distribution: how it is spread over the weights. `"uniform"`: the same in each. `"erk"`: Erdős–Rényi kernel, the
            larger the sparser, with exactly `round((1 - sparsity) * units)` active units in all (Mocanu et al. 2018,
            arXiv 1707.04780; Evci et al. 2020, arXiv 1911.11134). A mapping from layers, classes or names (as in
            `include`) to sparsities: the others get `sparsity`. A function of a candidate (with `.layer`, `.role`,
            `.name`, `.shape`, `.size`) that returns a sparsity. At least one unit of each weight stays active.
        include: what is made sparse although it is left out by default: layers (with all in them), classes of layers,
            or regular expressions that match the whole name of a layer, or the whole path of a weight (with or without
            the name of the model), such as `"block1/conv/kernel"`. Biases are meant by their path alone: `".*/bias"`.
        exclude: what stays dense, in the same terms. It goes before `include`.
        granularity: `"element"` or `"kernel"`, the unit that is pruned and grown: a weight, or a k x k slice.
        mask: `"random"`; or `"magnitude"`, the largest weights (units) of each tensor stay: for a pretrained model.
        seed: int, of random masks. None draws one from Python's random numbers.

    Returns:
        A `SparsifyReport`, which prints as a table.

    Raises:
        ValueError: an argument out of range, a selector that matches nothing, an unbuilt model, or a budget too small
            for the number of tensors. The model is as it was before.

    Example:

    >>> print(keras_dsr.sparsify(model, sparsity=0.9, exclude=[model.layers[1], "head"]))
    """
    check_granularity(granularity, "sparsify")
    check_mask(mask, "sparsify")
    sparsity = check_sparsity(sparsity, "sparsify")
    found, unbuilt = candidates(model), unbuilt_layers(model)
    if not model.built or (unbuilt and not found):
        raise _unbuilt(model, unbuilt)
    chosen, skipped = _choose(found, _selectors(include), _selectors(exclude))
    axes = [unit_axes_of(one.layer, one.role, granularity) for one in chosen]
    units = [count_units(one.shape, of_one) for one, of_one in zip(chosen, axes)]
    active = _distribute(distribution, sparsity, chosen, units)

    seed = drawn_seed(seed)
    by_layer: dict[int, tuple[keras.layers.Layer, dict[str, np.ndarray]]] = {}
    for index, one in enumerate(chosen):
        of_layer = by_layer.setdefault(id(one.layer), (one.layer, {}))[1]
        if mask == "magnitude":
            of_layer[one.role] = magnitude_mask(ops.convert_to_numpy(one.variable), active[index], axes[index])
        else:
            of_layer[one.role] = random_mask(one.shape, active[index], axes[index], [seed, index])
    rows = tuple(
        SparseRow(one.name, one.shape, int(by_layer[id(one.layer)][1][one.role].sum()), type(one.layer).__name__)
        for one in chosen
    )
    convert(model, list(by_layer.values()), granularity, seed)
    skipped += [SkippedRow(layer.name, type(layer).__name__, 0, "not built: never called yet") for layer in unbuilt]
    return SparsifyReport(rows, tuple(skipped), _own_classes(chosen))


def _unbuilt(model, layers: list) -> ValueError:
    where = f": layer {layers[0].name!r} has none yet" if layers else ""
    return ValueError(
        f"sparsify(model) needs weights to make sparse, and {model.name!r} has not been built{where}. Give it an "
        "`Input`, or call it once on a batch first."
    )


def _choose(found: list[Candidate], include: list, exclude: list) -> tuple[list[Candidate], list[SkippedRow]]:
    """The candidates to make sparse, and the others with their reasons."""
    for argument, selectors in (("include", include), ("exclude", exclude)):
        for selector in selectors:
            if not any(_matches(selector, one) for one in found):
                raise _unmatched(argument, selector, found)
    chosen, skipped = [], []
    for one in found:
        reason = one.obstacle
        if any(_matches(selector, one) for selector in exclude):
            reason = "excluded"
        elif reason is None and not any(_matches(selector, one) for selector in include):
            reason = _left_dense_by_default(one)
        if reason is None:
            chosen.append(one)
        else:
            skipped.append(SkippedRow(one.name, type(one.layer).__name__, one.size, reason))
    return chosen, skipped


def _left_dense_by_default(one: Candidate) -> str | None:
    if one.role == "bias":
        return "bias: dense by default"
    if isinstance(one.layer, NORMALIZATIONS):
        return "normalization: dense by default"
    if one.role == "embeddings":
        return "embedding: dense by default"
    if one.role == "depthwise_kernel" or isinstance(one.layer, DEPTHWISE):
        return "depthwise kernel: dense by default"
    if not one.variable.trainable:
        return "frozen: dense by default"
    return None


def _distribute(distribution: Distribution, sparsity: float, chosen: list[Candidate], units: list[int]) -> list[int]:
    """The number of active units of each weight."""
    if isinstance(distribution, Mapping):
        for selector in distribution:
            _check_selector(selector)
            if not any(_matches(selector, one) for one in chosen):
                raise _unmatched("distribution", selector, chosen)
        return [active_units(size, _looked_up(distribution, one, sparsity)) for one, size in zip(chosen, units)]
    if callable(distribution):
        shares = [check_sparsity(distribution(one), "sparsify(distribution=function)") for one in chosen]
        return [active_units(size, share) for size, share in zip(units, shares)]
    check_distribution(distribution, "sparsify", ", a mapping from layers or names to sparsities, or a function")
    return active_counts(distribution, sparsity, [one.shape for one in chosen], units)


def _looked_up(distribution: Mapping, one: Candidate, sparsity: float) -> float:
    """The sparsity that a mapping gives a weight; that of the selector of the weight's own layer before its owners'."""
    matching = {selector: value for selector, value in distribution.items() if _matches(selector, one)}
    own = {key: value for key, value in matching.items() if key is one.layer or key in (one.layer.name, one.name)}
    shares = {check_sparsity(share, "sparsify(distribution={...})") for share in (own or matching).values()}
    if len(shares) > 1:
        raise ValueError(
            f"sparsify(distribution=...) gives {one.name!r} several sparsities: "
            f"{', '.join(f'{key!r}: {share}' for key, share in matching.items())}. Leave one."
        )
    return shares.pop() if shares else sparsity


def _selectors(given) -> list:
    given = [given] if isinstance(given, (str, type, keras.layers.Layer)) else list(given)
    for selector in given:
        _check_selector(selector)
    return given


def _check_selector(selector):
    if isinstance(selector, (str, keras.layers.Layer)):
        return
    if not (isinstance(selector, type) and issubclass(selector, keras.layers.Layer)):
        raise ValueError(
            "A selector of sparsify(include=, exclude=, distribution=) must be a layer, a class of layers, or a "
            f"regular expression for the name of a layer or the path of a weight. Received: {selector!r}"
        )


def _matches(selector: Selector, one: Candidate) -> bool:
    """Whether a weight is meant: by its path, or, for all but biases, by its layer or one that it lies in."""
    layers = (one.layer, *one.owners)
    if isinstance(selector, str):
        by_layer = any(re.fullmatch(selector, layer.name) for layer in (one.layer, *one.owners[1:]))
        model = one.owners[0] if one.owners else one.layer
        paths = (one.name, one.name.removeprefix(f"{model.name}/"))  # a Sequential is in the path, by a counter
        return any(re.fullmatch(selector, path) for path in paths) or (by_layer and one.role != "bias")
    if isinstance(selector, keras.layers.Layer):
        return any(layer is selector for layer in layers) and one.role != "bias"
    return any(isinstance(layer, selector) for layer in (one.layer, *one.owners[1:])) and one.role != "bias"


def _unmatched(argument: str, selector, found: list[Candidate]) -> ValueError:
    names = [one.name for one in found if one.obstacle is None and one.role != "bias"]
    return ValueError(
        f"sparsify({argument}=...) names something that the model does not have: {selector!r} matches no layer and no "
        f"weight. There are, for example, {', '.join(map(repr, names[:5])) or 'none that could be sparse'}. "
        "Names are regular expressions that must match whole names or paths."
    )


def _own_classes(chosen: list[Candidate]) -> tuple[str, ...]:
    """The classes, not Keras's, in which sparse layers lie: when a model is loaded they would make stock layers."""
    owners = [type(owner) for one in chosen for owner in one.owners]
    return tuple(sorted({kind.__name__ for kind in owners if not kind.__module__.startswith(("keras.", "keras_dsr."))}))
