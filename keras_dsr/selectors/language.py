"""The language of selectors: what is meant by default, and by layers, classes of layers, names, paths and functions."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import keras

from keras_dsr.arguments import check_model, is_function
from keras_dsr.layers.registry import SPARSE_CLASS_OF
from keras_dsr.selectors.candidates import Candidate, candidates, unbuilt_layers

NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)

KERNEL_NAMES = ("kernel", "recurrent_kernel", "pointwise_kernel")

Selector: TypeAlias = keras.layers.Layer | type | str | Callable[[keras.Variable], bool]


def pointwise_convolutions(variable: keras.Variable) -> bool:
    """A selector: the kernels of convolutions with a window of 1, as in `sparsify(include=pointwise_convolutions)`.

    They are what LiteRT multiplies sparse on ARM and in browsers (see `keras_dsr.export(xnnpack=True)`). To have them
    alone, leave out the others: `exclude=lambda one: not keras_dsr.pointwise_convolutions(one)`.
    """
    is_kernel = variable.name.endswith("kernel") and not variable.name.startswith("depthwise")
    return is_kernel and len(variable.shape) >= 3 and set(variable.shape[:-2]) == {1}


def built_candidates(model: keras.Model, owner: str) -> tuple[list[Candidate], list[keras.layers.Layer]]:
    """The weights of a built model that could be sparse, and its layers that have none yet.

    Args:
        model: a Keras model.
        owner: who asks, such as `"sparsify"`, for the message.

    Raises:
        TypeError: something that is no model.
        ValueError: the model has not been built.
    """
    check_model(model, owner)
    found, unbuilt = candidates(model), unbuilt_layers(model)
    if not found and (unbuilt or not model.built):  # one without `call` is never built, and its parts are
        where = f": layer {unbuilt[0].name!r} has none yet" if unbuilt else ""
        raise ValueError(
            f"{owner}(model=...) needs weights to make sparse, and {model.name!r} has not been built{where}. Give it "
            f"an `Input`, or call it once on a batch first. Received: model={model!r}"
        )
    return found, unbuilt


def left_dense_by_default(one: Candidate) -> str | None:
    """Why a weight is left dense unless it is included; None: it is not.

    The one rule of the library: kernels are sparse, of rank 2 or more, but depthwise ones; biases, normalization,
    embeddings and frozen weights are not. Of a layer whose roles are not known a kernel is what bears its name, and a
    depthwise one is known by its shape, of rank 3 or more with a last dimension of 1.
    """
    if "bias" in one.role:
        return "bias: dense by default"
    if isinstance(one.layer, NORMALIZATIONS):
        return "normalization: dense by default"
    if one.role == "embeddings":
        return "embedding: dense by default"
    is_unknown = one.layer is None or type(one.layer) not in SPARSE_CLASS_OF
    has_shape_of_depthwise = is_unknown and len(one.shape) >= 3 and one.shape[-1] == 1
    if one.role == "depthwise_kernel" or isinstance(one.layer, DEPTHWISE) or has_shape_of_depthwise:
        return "depthwise kernel: dense by default"
    if not one.variable.trainable:
        return "frozen: dense by default"
    if is_unknown and (one.role not in KERNEL_NAMES or len(one.shape) < 2):
        return "no kernel: dense by default"
    return None


def choose(
    found: list[Candidate],
    include: Selector | Iterable[Selector],
    exclude: Selector | Iterable[Selector],
    owner: str,
    left_out: Callable[[Candidate], str | None] = left_dense_by_default,
) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """The candidates that are meant, and pairs of the others with their reasons.

    Args:
        found: the candidates of a model.
        include: selectors of what is meant although it is left out by default (see `keras_dsr.sparsify`).
        exclude: selectors of what is not meant. It goes before `include`.
        owner: who asks, for the message.
        left_out: from a candidate to the reason why it is left out unless it is included; None: it is not.

    Raises:
        ValueError: a selector of a wrong kind, or one that matches nothing.
    """
    include, exclude = checked_selectors(include, owner, "include"), checked_selectors(exclude, owner, "exclude")
    for argument, given in (("include", include), ("exclude", exclude)):
        for selector in given:
            check_matched(selector, found, owner, argument)
    chosen, skipped = [], []
    for one in found:
        reason = one.obstacle
        if any(matches(selector, one) for selector in exclude):
            reason = "excluded"
        elif reason is None and not any(matches(selector, one) for selector in include):
            reason = left_out(one)
        if reason is None:
            chosen.append(one)
        else:
            skipped.append((one, reason))
    return chosen, skipped


def matches(selector: Selector, one: Any) -> bool:
    """Whether a weight is meant: by its path or a function of it, or a kernel by its layer or one that it lies in."""
    if is_function(selector):
        return bool(selector(one.variable))
    if isinstance(selector, str):
        model = one.owners[0] if one.owners else one.layer
        paths = [one.name] if model is None else [one.name, one.name.removeprefix(f"{model.name}/")]
        if any(_named(selector, path) for path in paths):
            return True
    if "bias" in one.role or one.layer is None:
        return False
    if isinstance(selector, keras.layers.Layer):
        return any(layer is selector for layer in (one.layer, *one.owners))
    within = (one.layer, *one.owners[1:])
    if isinstance(selector, str):
        return any(_named(selector, layer.name) for layer in within)
    return any(isinstance(layer, cast(type, selector)) for layer in within)


def check_selector(selector: Selector, owner: str, argument: str) -> None:
    """Raise `ValueError` if this is not a selector; `argument` of `owner` it was given in."""
    is_class = isinstance(selector, type) and issubclass(selector, keras.layers.Layer)
    if is_class or isinstance(selector, (str, keras.layers.Layer)) or is_function(selector):
        return
    raise ValueError(
        f"A selector in {owner}({argument}=...) must be a layer, a class of layers, a regular expression for the name "
        "of a layer or the path of a weight, or a function of a variable that returns a bool. "
        f"Received: {argument}={selector!r}"
    )


def check_matched(selector: Selector, found: list[Candidate], owner: str, argument: str) -> None:
    """Raise `ValueError` if a selector matches none of the candidates."""
    if any(matches(selector, one) for one in found):
        return
    names = [one.name for one in found if left_dense_by_default(one) is None]
    raise ValueError(
        f"{owner}({argument}=...) names something that the model does not have: {selector!r} matches no layer and no "
        f"weight. There are, for example, {', '.join(map(repr, names[:5])) or 'none that could be sparse'}. "
        f"Names are regular expressions that must match whole names or paths. Received: {argument}={selector!r}"
    )


def checked_selectors(given: Selector | Iterable[Selector], owner: str, argument: str) -> list[Selector]:
    """The selectors that an argument of `owner` was given, as a list; raises `ValueError` if they are none."""
    is_list = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping, type, keras.layers.Layer))
    selectors: list = list(cast(Iterable, given)) if is_list else [given]
    for selector in selectors:
        check_selector(selector, owner, argument)
    return selectors


def _named(pattern: str, name: str) -> bool:
    """Whether a name is the given one, or matches it as a regular expression: names may hold its special characters."""
    try:
        return pattern == name or re.fullmatch(pattern, name) is not None
    except re.error:
        return False
