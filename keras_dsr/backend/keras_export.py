"""What Keras and TensorFlow have no public name for in writing a SavedModel."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.export import export_utils


def input_signature_of(model: keras.Model) -> list:
    """What a model is called with, as Keras's own `export` finds it."""
    return export_utils.get_input_signature(model)


def tensor_specs(signature: Any) -> Any:
    """The `tf.TensorSpec` of each `keras.InputSpec` of a signature."""
    return keras.tree.map_structure(export_utils.make_tf_tensor_spec, signature)


def keep_variables(archive: keras.export.ExportArchive, name: str, variables: Sequence[tf.Variable]) -> None:
    """Have an archive write these variables, and no others, under a name such as `"trainable_variables"`."""
    setattr(archive._tf_trackable, name, variables)


def track_in_file(owner: Any, variable: tf.Variable, name: str) -> None:
    """Have a resource's variable be written with it."""
    owner._track_trackable(variable, name)
