"""Files that need nothing of keras_dsr to load: a plain Keras file and a TensorFlow SavedModel."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator

import keras

from keras_dsr.optimizers import fresh_without_masks
from keras_dsr.seam.conversion import stripped
from keras_dsr.seam.training import set_optimizer


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Save the model as plain, compressed Keras: `keras.models.load_model` reads it where keras_dsr is not installed.

    Sparse layers are saved as the stock layers that they extend, with dead weights at zero, and the archive is
    deflated, so that the zeros take next to no space. The compile configuration is kept; the optimizer starts afresh in
    the loaded model. The model itself goes on as it was: train it further and save it again. (`model.save` keeps masks
    and optimizer; a file of that kind needs keras_dsr to load.)

    The file is written under another name and renamed: an interrupted save leaves an existing file as it was.

    Args:
        model: a built Keras model.
        path: where to write, ending in `.keras`.

    Raises:
        ValueError: a path that does not end in `.keras`, or an unbuilt model.
        IsADirectoryError: `path` is a folder.
        FileNotFoundError: the folder of `path` does not exist.

    Example:

    >>> keras_dsr.save(model, "model.keras")
    >>> keras.models.load_model("model.keras")
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"save(path=...) must end in '.keras', Keras's own format. Received: path={str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"save(path=...) must be a file. Received: path={str(path)!r}, which is a folder")
    with _written_beside(path) as temporary, stripped(model), _fresh_optimizer(model):
        stored = temporary.with_name("stored.keras")
        model.save(stored)
        with zipfile.ZipFile(stored) as source, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                with source.open(entry) as reader, target.open(entry.filename, "w", force_zip64=True) as writer:
                    shutil.copyfileobj(reader, writer)


def export(model: keras.Model, path: str | os.PathLike) -> None:
    """Export the model as a TensorFlow SavedModel by Keras's own `export`, with stock layers and dead weights at zero.

    Plain TensorFlow loads and serves it. The model itself goes on as it was. The folder is written under another name
    and renamed: an interrupted export leaves an existing one as it was.

    Args:
        model: a built Keras model.
        path: the folder to write. An existing SavedModel is replaced; any other folder with files in it is refused.

    Raises:
        ValueError: an unbuilt model.
        FileExistsError: `path` is a file, or a folder that holds something else than a SavedModel.
        FileNotFoundError: the folder of `path` does not exist.

    Example:

    >>> keras_dsr.export(model, "saved_model/")
    >>> served = tf.saved_model.load("saved_model/")
    >>> served.serve(x)
    """
    path = pathlib.Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists()):
        raise FileExistsError(
            f"export(path=...) would replace {str(path)!r}, which is not a SavedModel. Give another folder, or remove "
            "that one first."
        )
    with _written_beside(path) as temporary, stripped(model):
        model.export(str(temporary), format="tf_saved_model", verbose=False)


@contextlib.contextmanager
def _written_beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path on the same file system that takes the place of `path` when the block ends without an error."""
    path = path.absolute()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {str(path.parent)!r} to write {path.name!r} in does not exist: create it.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        temporary = pathlib.Path(folder) / path.name
        yield temporary
        if path.is_dir():
            os.replace(path, pathlib.Path(folder) / "replaced")  # a folder cannot be renamed over one with files
        os.replace(temporary, path)


@contextlib.contextmanager
def _fresh_optimizer(model: keras.Model) -> Iterator[None]:
    """Inside the block the model has an optimizer of the same configuration that has not taken a step."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        yield
        return
    configuration = model._compile_config
    set_optimizer(model, fresh_without_masks(optimizer))
    model.optimizer.build(model.trainable_variables)
    try:
        yield
    finally:
        model.optimizer, model._compile_config = optimizer, configuration
