"""Containers: Keras layers that make layers of their own, some of them sparse."""

from typing import ClassVar

import keras

from keras_dsr.layers.registry import SPARSE_CONTAINER_OF, enter
from keras_dsr.layers.units_by_pattern import renamed


class MaskedContainer:
    """Mixin for a Keras layer that rebuilds its inner layers when it is loaded: so that they come back sparse.

    It has no sparse weight of its own.

    Attributes:
        stock_class: The Keras layer class of the same name that `strip` turns the layer into.
    """

    stock_class: ClassVar[type[keras.layers.Layer]]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        enter(SPARSE_CONTAINER_OF, cls)

    @classmethod
    def to_sparse(cls, layer: keras.layers.Layer) -> None:
        """Give a layer of the stock class, whose inner layers are sparse, its sparse class, in place."""
        layer.__class__ = cls

    def to_stock(self) -> None:
        """Give the layer its stock class, in place."""
        self.__class__ = self.stock_class

    @classmethod
    def from_config(cls, config):
        return super().from_config(renamed(config))

    @classmethod
    def forget(cls, layer: keras.layers.Layer) -> None:
        """After `to_stock`: nothing of what the layer was is left in it."""
