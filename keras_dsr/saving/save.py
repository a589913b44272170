"""Keras files that are small: plain ones that load without keras_dsr, and ones from which training goes on."""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterator

import keras

from keras_dsr.arguments import check_flag, check_path
from keras_dsr.backend.distribution import on_this_process, stand_in
from keras_dsr.backend.keras_training import another_optimizer
from keras_dsr.conversion.convert import stripped
from keras_dsr.optimizers import fresh_without_masks
from keras_dsr.saving.atomic import written_beside
from keras_dsr.weights.loadable import warn_of_loading
from keras_dsr.weights.sparse_weights import check_has_weights, sparse_weights


def save(model: keras.Model, path: str | os.PathLike, resumable: bool = False) -> None:
    """Save the model as plain, compressed Keras: `keras.models.load_model` reads it where keras_dsr is not installed.

    Sparse layers are saved as the stock layers that they extend, with pruned weights at zero, and the archive is
    deflated, so that the zeros take next to no space. The compile configuration is kept; the optimizer starts afresh in
    the loaded model. The model itself goes on as it was: train it further and save it again.

    The file is written under another name and renamed: an interrupted save leaves an existing file as it was. Each part
    of it has a checksum, which Keras's loader asks for.

    Args:
        model: a built Keras model.
        path: where to write, ending in `.keras`.
        resumable: bool, whether to keep the sparse layers with their masks, and the optimizer with its state, as
            `model.save` does, so that training goes on from the loaded model. It is as compressed, and
            `keras.models.load_model` reads it where keras_dsr is imported.

    Raises:
        TypeError: something that is no model of Keras 3, or no path.
        ValueError: a path that does not end in `.keras`, or an unbuilt model.
        IsADirectoryError: `path` is a folder.
        FileNotFoundError: the folder of `path` does not exist.
        OSError: the disk is full.

    Example:

    >>> keras_dsr.save(model, "model.keras")
    >>> keras.models.load_model("model.keras")
    """
    check_has_weights(model, "save", kind=keras.Model)
    path = check_path(path, "save")
    check_flag(resumable, "save", "resumable")
    if path.suffix != ".keras":
        raise ValueError(f"save(path=...) must end in '.keras', Keras's own format. Received: path={str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"save(path=...) must be a file. Received: path={str(path)!r}, which is a folder")
    sparse_weights(model)  # builds a SparseOptimizer that has not taken a step
    if resumable:
        warn_of_loading(model, "What keras_dsr.save(resumable=True) writes")
    with written_beside(path) as temporary, contextlib.nullcontext() if resumable else _as_plain(model):
        stored = temporary.with_name("stored.keras")
        model.save(stored)
        with zipfile.ZipFile(stored) as source, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                with source.open(entry) as reader, target.open(entry.filename, "w", force_zip64=True) as writer:
                    shutil.copyfileobj(reader, writer)


@contextlib.contextmanager
def _as_plain(model: keras.Model) -> Iterator[None]:
    """Inside the block the model has stock layers, and an optimizer of its configuration that has not taken a step."""
    with stripped(model):
        optimizer = getattr(model, "optimizer", None)
        if optimizer is None:
            yield
            return
        with on_this_process():  # it may be that this process alone saves
            fresh = fresh_without_masks(optimizer)
            fresh.build([stand_in(variable) for variable in model.trainable_variables])
        with another_optimizer(model, fresh):
            yield
