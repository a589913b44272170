"""Which sparse class stands for which class of Keras, or of a user's own: each enters itself when it is defined."""

import keras

SPARSE_CLASS_OF: dict[type[keras.layers.Layer], type] = {}
SPARSE_CONTAINER_OF: dict[type[keras.layers.Layer], type] = {}
COMPACT_CLASS_OF: dict[type[keras.layers.Layer], type] = {}


def enter(classes: dict[type[keras.layers.Layer], type], cls: type) -> None:
    """Enter a class that names its stock class itself; one that inherits the name stands for no other class."""
    if "stock_class" in vars(cls):
        classes[cls.stock_class] = cls


def stock_class_of(kind: type[keras.layers.Layer]) -> type[keras.layers.Layer]:
    """The stock class of a sparse, compact or tied class that names one; of any other class, itself."""
    return vars(kind).get("stock_class", kind)
