"""What arguments must be: the checks that public functions and classes share, and the words of their errors."""

import numbers
import os
import pathlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard, cast

import keras
import numpy as np

LARGEST_NUMBER = float(np.finfo("float32").max)  # weights, rates and thresholds are float32
LARGEST_STEP = 2**31 - 1  # steps are counted in int32
_KERAS_2 = ("tf_keras", "tensorflow.python.keras")


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(value: int, least: int | None, owner: str, argument: str) -> int:
    """Return a value as an int, or raise `ValueError` if it is no whole number, or one below `least`.

    Args:
        value: what was given.
        least: the smallest that will do; None: any.
        owner: who asks, in call form (`"DSRCallback"`), for the message.
        argument: its name.
    """
    if is_whole(value) and (least is None or value >= least):
        return int(value)
    bound = "" if least is None else f" of at least {least}"
    raise ValueError(f"{owner}({argument}=...) must be an int{bound}. Received: {argument}={value!r}")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number that float32 can hold, and no bool: finite, not NaN."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(cast(float, value)) <= LARGEST_NUMBER


def is_list(value: Any) -> TypeGuard[Sequence]:
    """Whether a value is a list or another sequence, but no text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def is_function(value: Any) -> TypeGuard[Callable]:
    """Whether a value can be called and is meant to be: classes, layers and models can be called too."""
    return callable(value) and not isinstance(value, (type, keras.layers.Layer))


def is_one_of(value: Any, names: Iterable[str]) -> TypeGuard[str]:
    """Whether a value is one of some strings; any value may be asked for, such as one that cannot be hashed."""
    return isinstance(value, str) and value in names


def check_seed(seed: int, owner: str, argument: str = "seed") -> int:
    """Return the seed as an int, or raise `ValueError` if it is not an int of at least 0.

    Args:
        seed: of random numbers; for None the one who asks draws one.
        owner: who asks, in call form (`"SparseDense"`), for the message.
        argument: the name of the argument.
    """
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"{owner}({argument}=...) must be None or an int of at least 0. Received: {argument}={seed!r}")
    return int(seed)


def drawn_seed(seed: int | None, owner: str, argument: str = "mask_seed") -> int:
    """The seed, or one from Python's random numbers for None; raises `ValueError` if it is no int of at least 0."""
    return random.randint(1, 10**9) if seed is None else check_seed(seed, owner, argument)


def check_flag(flag: bool, owner: str, argument: str) -> bool:
    """Return the flag as a bool, or raise `ValueError` if it is neither True nor False."""
    if not isinstance(flag, (bool, np.bool_)):
        raise ValueError(f"{owner}({argument}=...) must be True or False. Received: {argument}={flag!r}")
    return bool(flag)


def check_verbose(verbose: int, owner: str) -> int:
    """Return how much is printed, or raise `ValueError` if it is none of 0, 1 and 2 (as in Keras, True is 1)."""
    if not isinstance(verbose, (bool, numbers.Integral)) or not 0 <= verbose <= 2:
        raise ValueError(f"{owner}(verbose=...) must be 0, 1 or 2. Received: verbose={verbose!r}")
    return int(verbose)


def check_path(path: str | os.PathLike, owner: str, argument: str = "path") -> pathlib.Path:
    """Return the path, or raise if it is none: `TypeError` for what is no string or path, `ValueError` for no name."""
    expected = f"{owner}({argument}=...) must be a path, a string or an os.PathLike"
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{expected}. Received: {argument}={path!r}")
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise ValueError(f"{expected}, with a name in it. Received: {argument}={path!r}")
    return pathlib.Path(path)


def check_state(state: Mapping[str, str] | None, owner: str, argument: str) -> dict[str, str]:
    """Return what methods keep for each weight, or raise `ValueError` if it is no mapping from names to dtypes."""
    state = {} if state is None else state
    is_mapping = isinstance(state, Mapping)
    if not is_mapping or not all(_is_state_name(name) and _is_dtype(dtype) for name, dtype in state.items()):
        raise ValueError(
            f"{owner}({argument}=...) must be None, or a dict from the names of what methods keep for each weight to "
            f"dtypes, such as {{'signs': 'int8'}}. Received: {argument}={state!r}"
        )
    return dict(state)


PASSED_BACK = ("gradient", "trained")  # what a layer keeps of what passes back: no method's list


def check_state_variable(name: str, dtype: str, owner: str) -> None:
    """Raise `ValueError` if a method cannot keep something of this name and dtype for each weight."""
    if is_one_of(name, PASSED_BACK):
        raise ValueError(
            f"{owner}(name=...) must not be {name!r}, under which layers keep what passes back to their weights. Give "
            f"the list another name. Received: name={name!r}"
        )
    if not _is_state_name(name):
        raise ValueError(f"{owner}(name=...) must be a name for attributes, such as 'signs'. Received: name={name!r}")
    if not _is_dtype(dtype):
        raise ValueError(f"{owner}(dtype=...) must be the name of a dtype, such as 'int8'. Received: dtype={dtype!r}")


def _is_state_name(name) -> bool:
    return isinstance(name, str) and name != "" and f"kernel_{name}".isidentifier()


def _is_dtype(dtype) -> bool:
    try:
        return isinstance(dtype, str) and keras.backend.standardize_dtype(dtype) == dtype
    except ValueError:
        return False


def check_model(
    model: keras.layers.Layer,
    owner: str,
    argument: str = "model",
    kind: type[keras.layers.Layer] = keras.layers.Layer,
    others: str = "",
) -> None:
    """Raise `TypeError` if this is no model of Keras 3, built or not.

    Args:
        model: what was given.
        owner: who asks, in call form, for the message.
        argument: the name of the argument.
        kind: `keras.Model` where a single layer will not do.
        others: what else the argument may be, in words.
    """
    if isinstance(model, kind):
        return
    call = f"{owner}({argument}=...)"
    if is_of_keras_2(model):
        raise TypeError(
            f"{call} is a Keras 2 model (tf_keras), and keras_dsr is for Keras 3. Build it with `keras` instead, or "
            f"unset TF_USE_LEGACY_KERAS where `tf.keras` builds it. Received: {argument}={_named(model)}"
        )
    expected = "a built Keras model" if kind is keras.Model else "a built Keras model or layer"
    hint = ""
    if isinstance(model, type):
        hint = ", which is a class: make a model of it"
    elif isinstance(model, (str, os.PathLike)):
        hint = ": load a model from its file with keras.models.load_model(path)"
    elif isinstance(model, keras.layers.Layer):
        hint = ", a layer: put it in a model, as keras.Sequential([keras.Input(shape), layer]) does"
    raise TypeError(f"{call} must be {expected}{others}. Received: {argument}={_named(model)}{hint}")


def is_of_keras_2(value) -> bool:
    """Whether the class of a value, or one that it extends, is of Keras 2: `tf_keras`, or that in old TensorFlow."""
    return any(f"{kind.__module__}.".startswith(tuple(f"{name}." for name in _KERAS_2)) for kind in type(value).__mro__)


def _named(value) -> str:
    return f"{value!r} (of type {type(value).__name__})"


def checked_pairs(pairs: Sequence[tuple], owner: str, argument: str, others: str = "") -> list[tuple]:
    """Return (start, value) pairs as tuples, or raise `ValueError` if they are none, or their starts do not increase.

    Args:
        pairs: what was given. The values may be anything.
        owner: who asks, in call form, for the message.
        argument: the name of the argument.
        others: what else the argument may be, in words that go before the pairs.
    """
    try:
        found = [tuple(pair) for pair in pairs]
    except TypeError:
        found = []
    starts = [pair[0] for pair in found if len(pair) == 2 and is_number(pair[0])]
    if not found or len(starts) < len(found) or starts[0] != 0 or sorted(set(starts)) != starts:
        raise ValueError(
            f"{owner}({argument}=...) must be {others}(start, value) pairs with increasing starts, the first at 0, "
            f"such as [(0, 100), (25, 200)]. Received: {argument}={pairs!r}"
        )
    return found


def check_steps(starts: Sequence[int], owner: str, argument: str, received) -> None:
    """Raise `ValueError` if pairs do not start at steps of an optimizer; see `checked_pairs`."""
    if not all(is_whole(start) and start <= LARGEST_STEP for start in starts):
        raise ValueError(
            f"{owner}({argument}=...) must start its pairs at whole steps, ints of at most {LARGEST_STEP}. "
            f"Received: {argument}={received!r}"
        )
