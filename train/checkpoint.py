"""The state of a run after an epoch, in one file that is replaced whole: all that an exact restart needs."""

import itertools
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_dsr.files.writing import written_beside


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
        epochs: int, the number of epochs that are complete.
        rows: one dict of metrics for each of them.
    """

    epochs: int
    rows: list[dict]


def save(path: str | Path, model: keras.Model, progress: Progress) -> None:
    """Write the checkpoint, replacing the one that was there in one step.

    Args:
        path: the file.
        model: compiled, its optimizer built. Every variable of both is written, masks, thresholds and the states of
            random generators included.
        progress: what to go on from.
    """
    header = {"fingerprint": _fingerprint(model), **progress._asdict()}
    arrays = {f"{i:05d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model).values())}
    with written_beside(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=np.frombuffer(json.dumps(header).encode(), dtype="uint8"), **arrays)


def load(path: str | Path, model: keras.Model) -> Progress:
    """Set every variable of a model and its optimizer to what a checkpoint holds.

    Args:
        path: the file.
        model: compiled, its optimizer built; of the architecture that was saved.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or of another architecture. The model is as it was before.
    """
    header, arrays = _read(Path(path))
    theirs, ours = header["fingerprint"], _fingerprint(model)
    if theirs != ours:
        raise ValueError(
            f"The checkpoint {path} belongs to another network or optimizer, and was not loaded. "
            f"{_difference(theirs, ours)}"
        )
    for variable, array in zip(_variables(model).values(), arrays, strict=True):
        variable.assign(array)
    return Progress(header["epochs"], header["rows"])


def read_progress(path: str | Path) -> Progress:
    """How far the run of a checkpoint has come. Raises as `load` does."""
    header, _ = _read(Path(path))
    return Progress(header["epochs"], header["rows"])


def read_variables(path: str | Path) -> list[tuple[str, np.ndarray]]:
    """The path and the value of each variable, those of the model first, in its order. Raises as `load` does."""
    header, arrays = _read(Path(path))
    return [(name, array) for (name, _), array in zip(header["fingerprint"], arrays)]


def _read(path: Path) -> tuple[dict, list[np.ndarray]]:
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {path}: the run never began.")
    try:
        # A checksum guards each array; reading the file whole finds any damage before a variable is touched.
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            return header, [archive[f"{i:05d}"] for i in range(len(header["fingerprint"]))]
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise ValueError(
            f"The checkpoint {path} is damaged or truncated and cannot be read ({error}). Nothing was changed. "
            "Restore it from a copy, or start the run again with --overwrite."
        ) from error


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    parts = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{part}/{i}/{v.path}": v for part, variables in parts.items() for i, v in enumerate(variables)}


def _fingerprint(model: keras.Model) -> list[list[str]]:
    return [
        [name.split("/", 2)[2], f"{v.dtype}{list(v.shape)}".replace(" ", "")] for name, v in _variables(model).items()
    ]


def _difference(theirs: list[list[str]], ours: list[list[str]]) -> str:
    """The first variable that differs, in words."""
    pairs = enumerate(itertools.zip_longest(theirs, ours))
    place = next(index for index, (there, here) in pairs if there != here)
    there, here = (" ".join(side[place]) if place < len(side) else "nothing" for side in (theirs, ours))
    return (
        f"It holds {len(theirs)} variables, the network here has {len(ours)}; the first that differs is number "
        f"{place + 1}: {there} in the checkpoint, {here} here."
    )
