"""Which weights of a model are meant: by default, and by layers, classes of layers, names and paths."""

import re
from collections.abc import Callable, Iterable, Mapping

import keras

from keras_dsr.arguments import check_model
from keras_dsr.conversion.candidates import Candidate, candidates, unbuilt_layers
from keras_dsr.conversion.sparsify_report import SkippedRow

NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)

Selector = keras.layers.Layer | type | str


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
    """Why a weight is left dense unless it is included; None: it is not."""
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


def choose(
    found: list[Candidate],
    include: Selector | Iterable[Selector],
    exclude: Selector | Iterable[Selector],
    owner: str,
    left_out: Callable[[Candidate], str | None] = left_dense_by_default,
) -> tuple[list[Candidate], list[SkippedRow]]:
    """The candidates that are meant, and the others with their reasons.

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
            skipped.append(SkippedRow(one.name, type(one.layer).__name__, one.size, reason))
    return chosen, skipped


def matches(selector: Selector, one: Candidate) -> bool:
    """Whether a weight is meant: by its path, or, for all but biases, by its layer or one that it lies in."""
    layers = (one.layer, *one.owners)
    if isinstance(selector, str):
        model = one.owners[0] if one.owners else one.layer
        paths = (one.name, one.name.removeprefix(f"{model.name}/"))  # a Sequential is in the path, by a counter
        if any(_named(selector, path) for path in paths):
            return True
        return one.role != "bias" and any(_named(selector, layer.name) for layer in (one.layer, *one.owners[1:]))
    if isinstance(selector, keras.layers.Layer):
        return any(layer is selector for layer in layers) and one.role != "bias"
    return any(isinstance(layer, selector) for layer in (one.layer, *one.owners[1:])) and one.role != "bias"


def check_selector(selector: Selector, owner: str, argument: str) -> None:
    """Raise `ValueError` if this is not a selector; `argument` of `owner` it was given in."""
    if isinstance(selector, (str, keras.layers.Layer)):
        return
    if not (isinstance(selector, type) and issubclass(selector, keras.layers.Layer)):
        raise ValueError(
            f"A selector in {owner}({argument}=...) must be a layer, a class of layers, or a regular expression for "
            f"the name of a layer or the path of a weight. Received: {argument}={selector!r}"
        )


def check_matched(selector: Selector, found: list[Candidate], owner: str, argument: str) -> None:
    """Raise `ValueError` if a selector matches none of the candidates."""
    if any(matches(selector, one) for one in found):
        return
    names = [one.name for one in found if one.obstacle is None and one.role != "bias"]
    raise ValueError(
        f"{owner}({argument}=...) names something that the model does not have: {selector!r} matches no layer and no "
        f"weight. There are, for example, {', '.join(map(repr, names[:5])) or 'none that could be sparse'}. "
        f"Names are regular expressions that must match whole names or paths. Received: {argument}={selector!r}"
    )


def _named(pattern: str, name: str) -> bool:
    """Whether a name is the given one, or matches it as a regular expression: names may hold its special characters."""
    try:
        return pattern == name or re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def checked_selectors(given: Selector | Iterable[Selector], owner: str, argument: str) -> list[Selector]:
    """The selectors that an argument of `owner` was given, as a list; raises `ValueError` if they are none."""
    is_list = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping, type, keras.layers.Layer))
    selectors = list(given) if is_list else [given]
    for selector in selectors:
        check_selector(selector, owner, argument)
    return selectors
