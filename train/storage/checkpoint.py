"""The state of a run after an epoch, in one file that is replaced whole: all that an exact restart needs.

The file is a zip of arrays, as numpy writes it, with a digest of all that is before it as the comment at its end: numpy
asks for no checksum of an array, and there is none of the positions of a zip.
"""

import hashlib
import io
import itertools
import json
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_dsr.saving.atomic import written_beside

ADDED = re.compile("(_record|(^|/)overfull)$")  # names of variables which files of earlier versions do not have
_DIGEST = len(hashlib.sha256(b"").hexdigest())
_END_OF_ZIP = 22  # bytes, without a comment


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
        epochs: int, the number of epochs that are complete.
        rows: one dict of metrics for each of them.
        absent: paths of the variables (see `ADDED`) that a file of an earlier version did not hold, and that `load`
            left as they were.
    """

    epochs: int
    rows: list[dict]
    absent: tuple[str, ...] = ()


def save(path: str | Path, model: keras.Model, progress: Progress) -> None:
    """Write the checkpoint, replacing the one that was there in one step.

    Args:
        path: the file.
        model: compiled, its optimizer built. Every variable of both is written, masks, thresholds and the states of
            random generators included.
        progress: what to go on from.
    """
    header = {"fingerprint": _fingerprint(model), "epochs": progress.epochs, "rows": progress.rows}
    arrays = {f"{i:05d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_variables(model).values())}
    with written_beside(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, header=np.frombuffer(json.dumps(header).encode(), dtype="uint8"), **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = b"0" * _DIGEST
        with open(temporary, "r+b") as file:
            content = file.read()
            file.seek(-_DIGEST, io.SEEK_END)
            file.write(_digest(content))


def load(path: str | Path, model: keras.Model) -> Progress:
    """Set every variable of a model and its optimizer to what a checkpoint holds.

    Args:
        path: the file.
        model: compiled, its optimizer built; of the architecture that was saved.

    Returns:
        How far the run has come, and which variables the file did not hold.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or of another architecture. The model is as it was before.
    """
    header, arrays = _read(Path(path))
    theirs, ours = header["fingerprint"], list(zip(_fingerprint(model), _variables(model).values()))
    held = {name for name, _ in theirs}
    absent = tuple(name for (name, _), _ in ours if name not in held and ADDED.search(name))
    present = [(described, variable) for described, variable in ours if described[0] not in absent]
    expected = [described for described, _ in present]
    if theirs != expected:
        raise ValueError(
            f"The checkpoint {path} belongs to another network or optimizer, and was not loaded. "
            f"{_difference(theirs, expected)}"
        )
    for (_, variable), array in zip(present, arrays, strict=True):
        variable.assign(array)
    return Progress(header["epochs"], header["rows"], absent)


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
        content = path.read_bytes()
        _check_whole(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            arrays = [archive[f"{i:05d}"] for i in range(len(header["fingerprint"]))]
        _check_agreement(header, arrays)
        return header, arrays
    except Exception as error:  # of a damaged file it may be any
        raise ValueError(
            f"The checkpoint {path} is damaged or truncated and cannot be read ({error}). Nothing was changed. "
            "Restore it from a copy, or start the run again with --overwrite."
        ) from error


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(memoryview(content)[:-_DIGEST]).hexdigest().encode()


def _check_whole(content: bytes) -> None:
    """Raise unless the file is as it was written: by its digest, or in files that have none, by each checksum."""
    ends_as_zip = content[-_END_OF_ZIP:].startswith(b"PK\5\6") and content.endswith(b"\0\0")
    if not ends_as_zip and content[-_DIGEST:] != _digest(content):
        raise ValueError("its digest differs")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        damaged = archive.testzip()  # numpy reads an array only as far as its header says, and asks for no checksum
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged!r} differs")


def _check_agreement(header: dict, arrays: list[np.ndarray]) -> None:
    """Raise unless the arrays are those that the header names."""
    epochs, rows = header["epochs"], header["rows"]
    if type(epochs) is not int or epochs < 0 or not all(isinstance(row, dict) for row in rows):
        raise ValueError("its header has no epochs or rows")
    for (name, kind), array in zip(header["fingerprint"], arrays, strict=True):
        if _kind(array) != kind:
            raise ValueError(f"{name} is {_kind(array)}, not {kind}")


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    parts = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{part}/{i}/{v.path}": v for part, variables in parts.items() for i, v in enumerate(variables)}


def _fingerprint(model: keras.Model) -> list[list[str]]:
    return [[name.split("/", 2)[2], _kind(v)] for name, v in _variables(model).items()]


def _kind(array) -> str:
    """Type and shape of a variable or an array."""
    return f"{array.dtype}{list(array.shape)}".replace(" ", "")


def _difference(theirs: list[list[str]], ours: list[list[str]]) -> str:
    """The first variable that differs, in words."""
    pairs = enumerate(itertools.zip_longest(theirs, ours))
    place = next(index for index, (there, here) in pairs if there != here)
    there, here = (" ".join(side[place]) if place < len(side) else "nothing" for side in (theirs, ours))
    return (
        f"It holds {len(theirs)} variables, the network here has {len(ours)}; the first that differs is number "
        f"{place + 1}: {there} in the checkpoint, {here} here."
    )
