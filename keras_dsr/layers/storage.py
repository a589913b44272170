"""Layers whose storage can be chosen: a dense kernel and a mask, or the weights that exist and their positions."""

import logging
import warnings

import keras

from keras_dsr.arguments import LARGEST_STEP, is_one_of, is_whole
from keras_dsr.backend.keras_layers import remove_attributes
from keras_dsr.layers.capacity import check_capacity
from keras_dsr.layers.registry import COMPACT_CLASS_OF
from keras_dsr.layers.storage_choice import choose_storage, doubt, pays

STORAGES = ("masked", "compact", "auto")


class HasStorage:
    """Mixin for a masked layer that may be a product or a convolution, and can then store its weights as a list.

    Args:
        storage: `"masked"`: a dense kernel and a mask. `"compact"`: the weights that exist and their positions; the
            layer is made a `CompactLayer`, which see. `"auto"`: what is faster here. When the layer is built, a step of
            training is timed in both, which takes some seconds for each size and sparsity; it says what it chose, and
            keeps that in `storage_choice`. From then on its config is that of the storage chosen. A subclass can only
            be masked.
        capacity: what the layer has room for in compact storage (see `CompactLayer`); None: 1.5 times its weights.
        batch_size: int, with `storage="auto"`: for how many examples a step is timed; None: as many as the inputs are
            known to have when the layer is built, or 64.

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
        owner = type(self).__name__
        check_storage(storage, capacity, batch_size, owner)
        if storage != "masked" and "stock_class" not in vars(type(self)):
            raise ValueError(
                f"{owner}(storage=...) must be 'masked' in a subclass: a layer in compact storage gets "
                f"another class, without what yours overrides. Received: storage={storage!r}"
            )
        if storage == "auto":
            # Not by setattr: Keras tracks what is set.
            vars(self)["_to_choose"] = {"storage": "auto", "capacity": capacity, "batch_size": batch_size}
            self.supports_jit = False  # it may turn out to be compact
        elif storage == "compact":
            make_compact(self, capacity)
            if not pays(self.sparsity):
                warnings.warn(f"{owner}(storage='compact'): {doubt(self.sparsity)}.", stacklevel=2)

    def build(self, input_shape):
        if "_to_choose" in vars(self):
            self._choose(input_shape)
        # Keras holds on to this method, of whatever class the layer has become: compact, or stock again.
        getattr(type(self), "stock_class", type(self)).build(self, input_shape)

    def _choose(self, input_shape) -> None:
        asked = vars(self)["_to_choose"]
        choice = choose_storage(self, type(self), self.sparsity, input_shape, **asked, pattern=self.pattern)
        report = f"{type(self).__name__} {self.name!r}: {choice.storage} storage, as {choice.why}"
        del vars(self)["_to_choose"]
        vars(self)["storage_choice"] = choice
        self.supports_jit = True
        if choice.storage == "compact":
            make_compact(self, asked["capacity"])
        if keras.config.is_interactive_logging_enabled():
            print(report)
        else:
            logging.getLogger("keras_dsr").info(report)

    def sparse_config(self) -> dict:
        return {**super().sparse_config(), **vars(self).get("_to_choose", {})}

    @classmethod
    def forget(cls, layer: keras.layers.Layer) -> None:
        super().forget(layer)
        remove_attributes(layer, ["storage_choice"])


def check_storage(storage: str, capacity: int | float | None, batch_size: int | None, owner: str) -> None:
    """Raise `ValueError` if there is no such storage, or an argument is out of range or for another storage."""
    if not is_one_of(storage, STORAGES):
        raise ValueError(
            f"{owner}(storage=...) must be 'masked' (a dense kernel and a mask), 'compact' (the weights that exist and "
            f"their positions) or 'auto' (what is faster here). Received: storage={storage!r}"
        )
    if capacity is not None and storage == "masked":
        raise ValueError(
            f"{owner}(capacity=...) is for storage='compact' and 'auto': a masked layer has room for every position. "
            f"Received: capacity={capacity!r} with storage='masked'"
        )
    if capacity is not None:
        check_capacity(capacity, owner)
    if batch_size is not None and storage != "auto":
        raise ValueError(
            f"{owner}(batch_size=...) is for storage='auto': for how many examples a step is timed. "
            f"Received: batch_size={batch_size!r} with storage={storage!r}"
        )
    if batch_size is not None and not (is_whole(batch_size) and 1 <= batch_size <= LARGEST_STEP):
        raise ValueError(f"{owner}(batch_size=...) must be an int of at least 1. Received: batch_size={batch_size!r}")


def make_compact(layer: keras.layers.Layer, capacity: int | float | None) -> None:
    """Have a masked layer that has not been built be of the compact class of its kind."""
    layer.__class__ = COMPACT_CLASS_OF[layer.stock_class]
    layer.configure(layer.sparsity, capacity, layer.pattern, layer.mask_seed, None, layer.initial_scale)
