"""Several devices in one process, and what each holds of a variable.

For programs, not for tests: a backend is told of its devices before anything runs on it.
"""

import contextlib
import functools
from collections.abc import Callable

import keras
import numpy as np

Scope = Callable[[], contextlib.AbstractContextManager]


def make_tensorflow_devices(count: int) -> None:
    """Have TensorFlow see so many devices in the processor. JAX takes the number from XLA_FLAGS."""
    import tensorflow as tf

    logical = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)


@functools.cache
def _mirrored(count: int):
    """One strategy for all models: TensorFlow mixes up the sums of two strategies of the same devices."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])


def data_parallel(count: int) -> Scope:
    """What makes the scope in which a model has a copy on each of so many devices."""
    if keras.backend.backend() == "tensorflow":
        return _mirrored(count).scope
    return keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:count]).scope


def model_parallel(shape: tuple[int, int], layouts: dict[str, tuple]) -> Scope:
    """What makes the scope in which variables are split over a mesh of devices, by patterns of their paths."""
    devices = keras.distribution.list_devices()[: shape[0] * shape[1]]
    layout_map = keras.distribution.LayoutMap(keras.distribution.DeviceMesh(shape, ("batch", "model"), devices))
    for pattern, axes in layouts.items():
        layout_map[pattern] = axes
    return keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch").scope


def copies(variable: keras.Variable) -> list[np.ndarray]:
    """What each device holds of a variable."""
    value = variable.value
    if keras.backend.backend() == "tensorflow":
        return [copy.numpy() for copy in getattr(value, "values", [value])]
    return [np.asarray(shard.data) for shard in value.addressable_shards]
