"""Files from which training goes on, of models whose layers Keras cannot make sparse when it loads them."""

import warnings

import keras

from keras_dsr.backend.keras_layers import walk
from keras_dsr.backend.live_objects import alive
from keras_dsr.layers import CompactLayer, MaskedLayer


def classes_that_load_dense(model: keras.Model) -> list[str]:
    """The names of classes, not Keras's, in which layers lie that were made sparse in place.

    When a model is loaded they make their layers themselves, stock ones, and the masks have no position.
    """
    names = set()
    for layer, owners in walk(model):
        if isinstance(layer, (MaskedLayer, CompactLayer)) and "converted" in vars(layer):
            names |= {type(owner).__name__ for owner in owners if not _is_of_keras(type(owner))}
    return sorted(names)


def warn_of_loading(model: keras.Model, what: str) -> None:
    """Warn if `keras.models.load_model` could not load a file of a model; `what` is written, for the message."""
    names = classes_that_load_dense(model)
    if names:
        warnings.warn(
            f"{what} of {model.name!r} cannot be read by keras.models.load_model: {', '.join(names)} would make stock "
            "layers, and the file has masks. To go on from it, build the model, call `keras_dsr.sparsify` as before, "
            "and `model.load_weights(path)`; or have that class make sparse layers itself.",
            stacklevel=3,
        )


def warn_of_files_that_do_not_load(model: keras.Model) -> None:
    """Warn, when training begins, if a `ModelCheckpoint` of it writes whole models that cannot be loaded."""
    if not classes_that_load_dense(model):
        return
    checkpoints = [one for one in alive(keras.callbacks.ModelCheckpoint) if getattr(one, "_model", None) is model]
    if any(not checkpoint.save_weights_only for checkpoint in checkpoints):
        warn_of_loading(model, "What ModelCheckpoint writes")


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.startswith(("keras.", "keras_dsr."))
