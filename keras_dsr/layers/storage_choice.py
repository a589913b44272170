"""Which storage a layer is best held in: what it can have, and what a step of training was measured to be faster in."""

import functools
import json
import math
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import keras
import numpy as np

from keras_dsr.backend.memory import machine_memory
from keras_dsr.layers.registry import COMPACT_CLASS_OF
from keras_dsr.layers.storage_timing import step_seconds
from keras_dsr.ops.patterns import Pattern

BATCH_SIZE = 64
# How much faster a step must be measured to be in compact storage: single layers are timed, on machines others share.
MARGIN = 1.2
# Below this sparsity compact storage is not expected to pay (docs/truly_sparse.md has the measurements).
PAYS_FROM = 0.8


class StorageChoice(NamedTuple):
    """Which storage a layer has, and why.

    Attributes:
        storage: `"masked"` or `"compact"`.
        why: string, a clause without a full stop; "" where there was no choice, as masked was asked for.
        seconds: of a step of training by storage, a dict; None where nothing was measured.
    """

    storage: str
    why: str
    seconds: dict[str, float] | None = None


def choose_storage(
    layer: keras.layers.Layer,
    kind: type[keras.layers.Layer],
    sparsity: float | dict[str, float],
    input_shape: tuple[int | None, ...] | None,
    storage: str,
    capacity: int | float | None = None,
    batch_size: int | None = None,
    pattern: Pattern = "element",
) -> StorageChoice:
    """The storage that a layer is to have: masked if it cannot be compact.

    Args:
        layer: a layer of a stock class or of `kind`.
        kind: the class of masked layers of its kind.
        sparsity: that it is to have.
        input_shape: of its inputs; None if that is unknown.
        storage: the one that is asked for. With `"auto"`, a step must be measured to be faster by `MARGIN`.
        capacity: as `HasStorage`.
        batch_size: of a step that is timed; None: as in `input_shape`, or `BATCH_SIZE`.
        pattern: that the layer is to have.

    Raises:
        ValueError: a capacity below the weights of a layer that is timed.
    """
    if storage == "masked":
        return StorageChoice("masked", "")
    obstacle = _obstacle(layer, kind.stock_class, sparsity, pattern)
    if obstacle is not None:
        return StorageChoice("masked", obstacle)
    share = sparsity["kernel"] if isinstance(sparsity, dict) else sparsity
    if storage == "compact":
        return StorageChoice("compact", "asked for" if pays(share) else f"asked for, but {doubt(share)}")
    sizes = input_shape and (batch_size or input_shape[0] or BATCH_SIZE, *input_shape[1:])
    if sizes is None or None in sizes:
        return StorageChoice("masked", f"inputs of shape {input_shape} leave open in how many rows they come")
    seconds = _timed(cast(Hashable, kind), _timed_config(layer, share), capacity, sizes)
    if seconds is None:
        return StorageChoice("compact", "training a dense kernel of its size takes most of this machine's memory")
    masked, compact = (f"{seconds[one] * 1e3:,.2f} ms" for one in ("masked", "compact"))
    why = f"a step with inputs of shape {sizes} takes {masked} masked, {compact} compact"
    is_faster = seconds["masked"] >= MARGIN * seconds["compact"]
    return StorageChoice("compact" if is_faster else "masked", why, seconds)


def pays(sparsity: float) -> bool:
    """Whether compact storage may be expected to be as fast as masked."""
    return round(sparsity, 3) >= PAYS_FROM  # whole weights: 0.8 of a small kernel may be a little less


def doubt(sparsity: float) -> str:
    """What there is to say against compact storage where it is not expected to pay, as a clause."""
    return (
        f"at sparsity {sparsity:.4g} it is likely to be slower than storage='masked': it breaks even at a sparsity of "
        f"{PAYS_FROM:g} to 0.9, by backend and batch. storage='auto' measures it, and chooses"
    )


def _obstacle(layer: keras.layers.Layer, stock_class: type, sparsity, pattern: Pattern) -> str | None:
    """Why a layer cannot be compact; None: it can."""
    if stock_class not in COMPACT_CLASS_OF:
        return f"{stock_class.__name__} is no product with one matrix, and no convolution"
    try:
        COMPACT_CLASS_OF[stock_class].check_possible(layer, sparsity)
        COMPACT_CLASS_OF[stock_class].check_can_have(pattern)
        if layer.built:
            COMPACT_CLASS_OF[stock_class].check_shape(layer.kernel.shape)
    except ValueError as error:
        return f"compact storage is not for it: {error}"
    return None


def _timed_config(layer: keras.layers.Layer, sparsity: float) -> str:
    """The config, as JSON, of a layer that takes as long as the given one and draws no random numbers."""
    dropped = ("pattern", "method_state", "storage", "capacity", "batch_size", "initial_scale")
    config = {name: value for name, value in layer.get_config().items() if name not in dropped}
    own = {"name": "timed", "sparsity": sparsity, "mask_seed": 0, "dtype": layer.compute_dtype}
    plain = {f"{role}_{what}": None for role in ("kernel", "bias") for what in ("regularizer", "constraint")}
    plain |= {"activation": None, "activity_regularizer": None}
    drawn = {"kernel_initializer": "zeros", "bias_initializer": "zeros"}
    return json.dumps({**config, **own, **plain, **drawn}, sort_keys=True, default=int)


@functools.lru_cache(maxsize=256)
def _timed(
    kind: type[keras.layers.Layer], config: str, capacity: int | float | None, sizes: tuple[int, ...]
) -> dict[str, float] | None:
    """The seconds of a step in each storage; None if training does not fit when the kernel is dense.

    In a thread of its own: a layer may be built in a scope in which nothing can be trained (a trace, a stateless
    scope), and such scopes belong to threads.
    """

    def layer(storage):
        settings = {"capacity": capacity} if storage == "compact" else {}
        of_storage = COMPACT_CLASS_OF[kind.stock_class] if storage == "compact" else kind
        return of_storage.from_config({**json.loads(config), **settings})

    def timed():
        compact = layer("compact")
        compact.build(sizes)
        places = math.prod(compact.kernel_shape)
        inputs = math.prod(sizes)
        outputs = inputs // compact.matrix_shape[0] * compact.matrix_shape[1]
        itemsize = np.dtype(compact.variable_dtype).itemsize
        # Kernel, what is masked of it, gradient, momentum; mask; activations and their gradients.
        needed = places * (4 * itemsize + 1) + 3 * (inputs + outputs) * itemsize
        memory = machine_memory()
        if memory is not None and needed > memory / 2:
            return None
        return step_seconds({storage: layer(storage) for storage in ("masked", "compact")}, sizes)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(timed).result()
