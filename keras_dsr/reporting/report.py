"""The report of a model, as one page of HTML."""

import importlib.util
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import keras

from keras_dsr.arguments import check_path
from keras_dsr.exporting.export import checked_batch_sizes
from keras_dsr.reporting.contents import Experiment, page_of
from keras_dsr.reporting.page import render
from keras_dsr.saving.atomic import written_beside
from keras_dsr.selectors.language import Selector
from keras_dsr.weights.sparse_weights import check_has_weights


def report(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    masks: Selector | Iterable[Selector] | None = None,
    batch_sizes: Sequence[int] | None = (1, 8),
    history: keras.callbacks.History | Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write a page on a model: what each layer holds and costs, how training went, what makes use of it.

    One HTML file without any other: per kernel its shape, weights, active weights, sparsity, bytes, FLOPs, theoretical
    and measured speed; the sparsity by layer; H, K and the density of each kernel over training; pictures of masks; and
    which runtimes are faster with it. What is not known is shown as such, with the reason.

    Which weights are active is what the model's masks say. Of a model without masks, such as one after
    `keras_dsr.strip`, it is those that are not zero.

    It needs jinja2 and matplotlib. The file is written under another name and renamed.

    Args:
        model: a built Keras model of any kind.
        path: the file to write, ending in `.html`.
        masks: whose masks are shown, in the terms of `keras_dsr.sparsify(include=...)`: layers, classes of layers,
            names or paths. None: up to four, from the first sparse kernel to the last. (): none.
        batch_sizes: ints of at least 1: for these the products with sparse `Dense` and 1x1 convolution kernels are
            timed on this machine, dense and by TensorFlow's CSR operations; half a minute at most. None or (): none.
        history: what `model.fit` returned, or its `history` dict: for the plots.

    Raises:
        ImportError: jinja2 or matplotlib are not installed.
        ValueError: an unbuilt model, a path that does not end in `.html`, an unknown name in `masks`, a batch size that
            is no positive int.
        TypeError: something that is no model.
        FileNotFoundError: the folder of `path` does not exist.
        IsADirectoryError: `path` is a folder.

    Example:

    >>> history = model.fit(x, y, epochs=10, callbacks=[keras_dsr.DSRCallback(target=50)])
    >>> keras_dsr.report(model, "report.html", history=history)
    """
    write_report(model, path, masks, batch_sizes, history)


def write_report(
    model: keras.Model, path: str | os.PathLike, masks, batch_sizes, history, experiment: Experiment | None = None
) -> None:
    """As `report`, with what is known of the training that the model came out of."""
    _check_installed()
    path = _checked_path(path)
    check_has_weights(model, "report")
    batch_sizes = () if batch_sizes is None else checked_batch_sizes(batch_sizes, "report")
    with written_beside(path) as temporary:
        page = page_of(model, masks, batch_sizes, history, experiment)
        temporary.write_text(render(page), encoding="utf-8")


def _check_installed() -> None:
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"keras_dsr.report needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed. Install with: pip install {' '.join(missing)}"
        )


def _checked_path(path: str | os.PathLike) -> pathlib.Path:
    path = check_path(path, "report")
    if path.suffix != ".html":
        raise ValueError(f"report(path=...) must end in '.html'. Received: path={str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"report(path=...) must be a file. Received: path={str(path)!r}, which is a folder")
    return path
