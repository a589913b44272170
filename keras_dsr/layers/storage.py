"""Which storage a sparse layer has: a dense kernel and a mask, or the weights that exist and their positions."""

import functools
import json
import logging
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import keras
import numpy as np

from keras_dsr.layers.compact import check_capacity
from keras_dsr.layers.compact_kinds import COMPACT_LAYERS
from keras_dsr.placement import machine_memory
from keras_dsr.products.training import is_supported
from keras_dsr.products.training_steps import step_seconds

STORAGES = ("masked", "compact", "auto")
BATCH_SIZE = 64
# How much faster a step must be measured to be in compact storage: single layers are timed, on machines others share.
MARGIN = 1.2
# Below this sparsity compact storage is not expected to pay (docs/truly_sparse.md has the measurements).
PAYS_FROM = 0.9

COMPACT_OF = {cls.stock_class: cls for cls in COMPACT_LAYERS}


class StorageChoice(NamedTuple):
    """Which storage a layer has, and why.

    Attributes:
        storage: `"masked"` or `"compact"`.
        why: string, a clause without a full stop.
        seconds: of a step of training by storage, a dict; None where nothing was measured.
    """

    storage: str
    why: str
    seconds: dict[str, float] | None = None


class HasStorage:
    """Mixin for a masked layer that may be a product with one matrix, and can then hold its weights as a list.

    Args:
        storage: `"masked"`: a dense kernel and a mask. `"compact"`: the weights that exist and their positions; the
            layer is made a `CompactLayer`, which see. `"auto"`: what is faster here. When the layer is built, a step of
            training is timed in both, which takes some seconds for each size and sparsity; it says what it chose, and
            keeps that in `storage_choice`. Saved files have what was chosen.
        capacity: what the layer has room for in compact storage (see `CompactLayer`); None: 1.5 times its weights.
        batch_size: int, with `storage="auto"`: for how many examples a step is timed; None: 64.

    Raises:
        ValueError: no such storage, one that the layer cannot have, or an argument for another storage.
    """

    def __init__(
        self,
        *args,
        storage: str = "masked",
        capacity: int | float | None = None,
        batch_size: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_storage(storage, capacity, batch_size, type(self).__name__)
        if storage == "auto":
            self._to_choose = {"storage": "auto", "capacity": capacity, "batch_size": batch_size}
        elif storage == "compact" and _can_be_compact(self):
            _make_compact(self, capacity)

    def build(self, input_shape):
        if "_to_choose" in vars(self):
            self._choose(input_shape)
        getattr(type(self), "stock_class", type(self)).build(self, input_shape)

    def _choose(self, input_shape) -> None:
        asked = vars(self).pop("_to_choose")
        self.storage_choice = choice = choose_storage(self, type(self), self.sparsity, input_shape, **asked)
        report = f"{type(self).__name__} {self.name!r}: {choice.storage} storage, as {choice.why}"
        if choice.storage == "compact":
            _make_compact(self, asked["capacity"])
        if keras.config.is_interactive_logging_enabled():
            print(report)
        else:
            logging.getLogger("keras_dsr").info(report)

    def sparse_config(self) -> dict:
        return {**super().sparse_config(), **vars(self).get("_to_choose", {})}

    @classmethod
    def forget(cls, layer: keras.layers.Layer) -> None:
        super().forget(layer)
        vars(layer).pop("storage_choice", None)


def check_storage(storage: str, capacity: int | float | None, batch_size: int | None, owner: str) -> None:
    """Raise `ValueError` if there is no such storage, or an argument is out of range or for another storage."""
    if storage not in STORAGES:
        raise ValueError(
            f"{owner}(storage=...) must be 'masked' (a dense kernel and a mask), 'compact' (the weights that exist and "
            f"their positions) or 'auto' (what is faster here). Received: storage={storage!r}"
        )
    if capacity is not None and storage == "masked":
        raise ValueError(
            f"{owner}(capacity=...) is for storage='compact' and 'auto': a masked layer has room for every place. "
            f"Received: capacity={capacity!r} with storage='masked'"
        )
    if capacity is not None:
        check_capacity(capacity, owner)
    if batch_size is not None and storage != "auto":
        raise ValueError(
            f"{owner}(batch_size=...) is for storage='auto': for how many examples a step is timed. "
            f"Received: batch_size={batch_size!r} with storage={storage!r}"
        )
    if batch_size is not None and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1):
        raise ValueError(f"{owner}(batch_size=...) must be an int of at least 1. Received: batch_size={batch_size!r}")


def choose_storage(
    layer: keras.layers.Layer,
    kind: type[keras.layers.Layer],
    sparsity: float | dict[str, float],
    input_shape: tuple[int | None, ...] | None,
    storage: str,
    capacity: int | float | None = None,
    batch_size: int | None = None,
) -> StorageChoice:
    """The storage that a layer is to have: masked if it cannot be compact.

    Args:
        layer: a layer of a stock class or of `kind`.
        kind: the class of masked layers of its kind.
        sparsity: that it is to have.
        input_shape: of its inputs; None if that is unknown. Where the batch's size is None, it is `batch_size`.
        storage: the one that is asked for. With `"auto"`, a step must be measured to be faster by `MARGIN`.
        capacity, batch_size: as `HasStorage`.
    """
    if storage == "masked":
        return StorageChoice("masked", "asked for")
    obstacle = _obstacle(layer, kind.stock_class, sparsity)
    if obstacle is not None:
        return StorageChoice("masked", obstacle)
    if storage == "compact":
        return StorageChoice("compact", "asked for")
    sizes = input_shape and (input_shape[0] or batch_size or BATCH_SIZE, *input_shape[1:])
    if sizes is None or None in sizes:
        return StorageChoice("masked", f"inputs of shape {input_shape} leave open in how many rows they come")
    share = sparsity["kernel"] if isinstance(sparsity, dict) else sparsity
    seconds = _timed(kind, json.dumps(_timed_config(layer, share), sort_keys=True), sizes)
    if seconds is None:
        return StorageChoice("compact", "training a dense kernel of its size takes most of this machine's memory")
    masked, compact = (f"{seconds[one] * 1e3:,.2f} ms" for one in ("masked", "compact"))
    why = f"a step with inputs of shape {sizes} takes {masked} masked, {compact} compact"
    is_faster = seconds["masked"] >= MARGIN * seconds["compact"]
    return StorageChoice("compact" if is_faster else "masked", why, seconds)


def _obstacle(layer: keras.layers.Layer, stock_class: type, sparsity) -> str | None:
    """Why a layer cannot be compact; None: it can."""
    if stock_class not in COMPACT_OF:
        return f"{stock_class.__name__} is no product with one matrix"
    if not is_supported():
        return f"{keras.backend.backend()} has no sparse product that was measured to be faster"
    try:
        COMPACT_OF[stock_class].check_possible(layer, sparsity)
    except ValueError as error:
        return f"compact storage is not for it: {error}"
    return None


def _timed_config(layer: keras.layers.Layer, sparsity: float) -> dict:
    """The config of a layer that takes as long as the given one and draws no random numbers."""
    own = {"name": "timed", "sparsity": sparsity, "mask_seed": 0, "activation": None}
    plain = {f"{role}_{what}": None for role in ("kernel", "bias") for what in ("regularizer", "constraint")}
    dropped = ("granularity", "method_state", "storage", "capacity", "batch_size")
    config = {name: value for name, value in layer.get_config().items() if name not in dropped}
    return {**config, **own, **plain, "kernel_initializer": "zeros", "bias_initializer": "zeros"}


@functools.lru_cache(maxsize=256)
def _timed(kind: type[keras.layers.Layer], config: str, sizes: tuple[int, ...]) -> dict[str, float] | None:
    """The seconds of a step in each storage; None if a dense kernel of the layer's size does not fit.

    In a thread of its own: a layer may be built in a scope in which nothing can be trained (a trace, a stateless
    scope), and such scopes belong to threads.
    """
    kinds = {"masked": kind, "compact": COMPACT_OF[kind.stock_class]}

    def timed():
        compact = kinds["compact"].from_config(json.loads(config))
        compact.build(sizes)
        places = math.prod(compact.kernel_shape)
        needed = places * (3 * np.dtype(compact.variable_dtype).itemsize + 1)  # kernel, gradient, momentum; mask
        memory = machine_memory()
        if memory is not None and needed > memory / 2:
            return None
        return step_seconds({name: one.from_config(json.loads(config)) for name, one in kinds.items()}, sizes)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(timed).result()


def _can_be_compact(layer: keras.layers.Layer) -> bool:
    """Whether the backend has compact storage; warns if it has not, or where that is not expected to pay."""
    owner = type(layer).__name__
    if not is_supported():
        warnings.warn(
            f"{owner}(storage='compact') is made with storage='masked': {keras.backend.backend()} has no "
            "sparse product that was measured to be faster. Set KERAS_BACKEND=tensorflow for compact storage.",
            stacklevel=4,
        )
        return False
    sparsity = layer.sparsity.get("kernel", 0) if isinstance(layer.sparsity, dict) else layer.sparsity
    if sparsity < PAYS_FROM:
        warnings.warn(
            f"{owner}(storage='compact') with sparsity={sparsity:g} is likely to be slower than storage='masked': it "
            f"breaks even at a sparsity of about {PAYS_FROM:g}. storage='auto' measures it here, and chooses.",
            stacklevel=4,
        )
    return True


def _make_compact(layer: keras.layers.Layer, capacity: int | float | None) -> None:
    """Have a masked layer that has not been built be of the compact class of its kind."""
    layer.__class__ = COMPACT_OF[layer.stock_class]
    layer.configure(layer.sparsity, capacity, layer.mask_seed, None)
