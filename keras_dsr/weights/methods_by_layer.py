"""Several methods at once: which of them moves which weights."""

from collections.abc import Mapping

import keras

from keras_dsr.methods.base import Method, check_method
from keras_dsr.optimizers import SparseOptimizer
from keras_dsr.selectors.candidates import candidates
from keras_dsr.selectors.language import Selector, check_matched, check_selector, matches

Methods = list[tuple[Selector | None, Method]]


def checked_methods(given: Method | Mapping[Selector, Method], owner: str) -> Methods:
    """A method, of all weights (the selector is None), or several by selectors.

    Raises:
        TypeError: one is no method.
        ValueError: a selector of a wrong kind, none at all, or a method with constants out of range.
    """
    if not isinstance(given, Mapping):
        check_method(given, owner)
        return [(None, given)]
    if not given:
        raise ValueError(
            f"{owner}(method=...) must be a method, or a mapping from selectors of layers to methods. "
            f"Received: method={given!r}"
        )
    for selector, method in given.items():
        check_selector(selector, owner, "method")
        check_method(method, owner)
    return list(given.items())


def parted(model: keras.Model, weights: list, methods: Methods, owner: str) -> list[tuple[Method, list]]:
    """Each method with the weights that it moves, of those given; what no selector names stays as it is.

    Raises:
        ValueError: a selector names nothing, two name the same weight, or two methods would share a `SparseOptimizer`.
    """
    if methods[0][0] is None:
        return [(methods[0][1], weights)]
    found = {id(one.variable): one for one in candidates(model)}
    known = [found[id(weight.variable)] for weight in weights]
    parts = []
    taken: dict[int, Selector | None] = {}
    for selector, method in methods:
        check_matched(selector, list(found.values()), owner, "method")
        part = [weight for weight, one in zip(weights, known) if matches(selector, one)]
        for weight in part:
            if id(weight.variable) in taken:
                raise ValueError(
                    f"{owner}(method=...) has two methods for {weight.name!r}, by the selectors "
                    f"{taken[id(weight.variable)]!r} and {selector!r}. Expected: one at most for each weight."
                )
            taken[id(weight.variable)] = selector
        if part:
            parts.append((method, part))
    if not parts:
        raise ValueError(
            f"{owner}(method=...) names no sparse weight that may move. Received selectors: "
            f"{', '.join(repr(selector) for selector, _ in methods)}"
        )
    held = [method for method, part in parts if any(isinstance(weight.holder, SparseOptimizer) for weight in part)]
    if len(held) > 1:
        raise ValueError(
            f"{owner}(method=...) has {len(held)} methods for weights of a SparseOptimizer, which has one threshold "
            "and one moving average of gradients for all of them. Use one method there, or sparse layers "
            f"(`keras_dsr.sparsify`). Received: {', '.join(map(repr, held))}"
        )
    return parts
