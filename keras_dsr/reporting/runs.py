"""What the folder of a finished run of `train.run` holds for a report."""

import csv
import json
import pathlib
import zipfile
from typing import NamedTuple

import keras
import numpy as np

FILES = ("config.json", "metrics.csv", "result.json", "model.keras")


class Run(NamedTuple):
    """A finished run.

    Attributes:
        settings: what it was started with, by name.
        result: what came out of it, by name.
        rows: a dict of numbers for each epoch.
        model: the stripped model, its dead weights zero.
        masks: bool arrays by the names of kernels, from its checkpoint; None: the checkpoint has none, or is gone.
    """

    settings: dict
    result: dict
    rows: list[dict[str, float]]
    model: keras.Model
    masks: dict[str, np.ndarray] | None


def read_run(folder: pathlib.Path) -> Run:
    """Read the folder of a run.

    Raises:
        FileNotFoundError: no such folder, or it lacks files of a finished run.
        ValueError: a file in it is damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"report(model_or_run=...) must be a built Keras model, or the folder of a run. There is no folder "
            f"{str(folder)!r}."
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        unfinished = "config.json" not in missing
        remedy = "Finish it with --resume." if unfinished else "Give the folder that `train.run --out=` has written."
        raise FileNotFoundError(
            f"The folder {str(folder)!r} is {'an unfinished run' if unfinished else 'no run'}: it has no "
            f"{', '.join(missing)}. {remedy}"
        )
    settings = _json(folder / "config.json", "settings")["settings"]
    result = _json(folder / "result.json", "test_score", "layers", "weights", "active_weights")
    rows = read_metrics(folder / "metrics.csv")
    try:
        model = keras.saving.load_model(folder / "model.keras", compile=False)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise _damaged(folder / "model.keras", error) from error
    return Run(settings, result, rows, model, _masks(folder / "checkpoint", model, result))


def read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, as numbers.

    Raises:
        ValueError: it has no rows, or one that is cut off or no numbers.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, f"a row is not one number for each column: {error}") from error
    if not rows or "epoch" not in rows[0]:
        raise _damaged(path, "expected a column 'epoch' and at least one row")
    return rows


def _json(path: pathlib.Path, *names: str) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, error) from error
    lacking = [name for name in names if not isinstance(values, dict) or name not in values]
    if lacking:
        raise _damaged(path, f"it has no {', '.join(map(repr, lacking))}")
    return values


def _damaged(path: pathlib.Path, why) -> ValueError:
    return ValueError(f"{path.name} of the run in {str(path.parent)!r} is damaged ({why}). Do the run again.")


def _masks(path: pathlib.Path, model: keras.Model, result: dict) -> dict[str, np.ndarray] | None:
    """The masks that a checkpoint holds, if they fit the result: in the stripped model an active 0 is as a dead one."""
    if not path.is_file():
        return None
    active = {name: count for name, count, _ in result["layers"]}
    masks = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            variables = json.loads(archive["header"].tobytes())["fingerprint"]
            for place, (path_of_variable, _) in enumerate(variables):
                for name in active:
                    # Beside its kernel in a layer, or among the variables of a SparseOptimizer.
                    in_optimizer = f"/{name.replace('/', '_')}_mask"
                    if path_of_variable == f"{name}_mask" or path_of_variable.endswith(in_optimizer):
                        masks[name] = archive[f"{place:05d}"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    shapes = {variable.path: tuple(variable.shape) for variable in model.variables}
    fits = all(mask.shape == shapes.get(name) and mask.sum() == active[name] for name, mask in masks.items())
    return masks if masks and fits and len(masks) == len(active) else None
