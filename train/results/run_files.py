"""What the folder of a run of `train.run` holds, read with care: a damaged file is named, and how to go on."""

import csv
import json
import pathlib
import reprlib
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

FILES = ("config.json", "metrics.csv", "result.json", "model.keras")
AGAIN = "the command of the run with --resume writes {} again from its checkpoint"
REMEDIES = {
    "config.json": "Restore it from a copy, or do the run again in another folder",
    "result.json": f"Remove it: {AGAIN.format('it')}",
}
OTHERWISE = f"Remove it and result.json: {AGAIN.format('both')}"


class Run(NamedTuple):
    """A finished run.

    Attributes:
        settings: what it was started with, by name.
        result: what came out of it, by name.
        rows: a dict of numbers for each epoch.
        model: the stripped model, its pruned weights zero.
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
            f"--run must be the folder of a finished run of train.run. There is no folder {str(folder)!r}."
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        unfinished = "config.json" not in missing
        remedy = "Finish it with --resume." if unfinished else "Give the folder that `train.run --out=` has written."
        raise FileNotFoundError(
            f"The folder {str(folder)!r} is {'an unfinished run' if unfinished else 'no run'}: it has no "
            f"{', '.join(missing)}. {remedy}"
        )
    settings = read_config(folder / "config.json")["settings"]
    result = read_result(folder / "result.json")
    rows = read_metrics(folder / "metrics.csv")
    if len(rows) != len(result.get("test_scores", rows)):
        why = f"it has {len(rows)} rows, and result.json the scores of {len(result['test_scores'])} epochs"
        raise damaged(folder / "metrics.csv", why)
    model = read_model(folder / "model.keras")
    return Run(settings, result, rows, model, _masks(folder / "checkpoint", model, result))


def read_json(path: pathlib.Path):
    """What a JSON file of a run holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def read_config(path: pathlib.Path) -> dict:
    """What a config.json holds. Raises as `read_json` does."""
    config = _checked(path, read_json(path), _CONFIG, "settings")
    if "granularity" in config["settings"]:  # what version 0.1.0 called the pattern
        config["settings"]["pattern"] = config["settings"].pop("granularity")
    config["settings"].setdefault("period", "recipe")  # periods were in steps, however long a run
    return config


def read_result(path: pathlib.Path) -> dict:
    """What a result.json holds. Raises as `read_json` does."""
    return _checked(path, read_json(path), _RESULT, "test_score", "layers", "weights", "active_weights")


def read_model(path: pathlib.Path) -> keras.Model:
    """The model of a model.keras, not compiled. Raises as `read_json` does."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path.name} in {str(path.parent)!r}. {_remedy(path)}.")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # of a damaged file it may be any
        raise damaged(path, error) from error


def read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, as numbers.

    Raises:
        ValueError: it has no rows, or one that is cut off or no numbers.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise damaged(path, f"a row is not one number for each column: {error}") from error
    if not rows or "epoch" not in rows[0]:
        raise damaged(path, "expected a column 'epoch' and at least one row")
    return rows


def damaged(path: pathlib.Path, why) -> ValueError:
    """The error that names a damaged file of a run, and says how to go on."""
    return ValueError(f"{path.name} of the run in {str(path.parent)!r} is damaged ({why}). {_remedy(path)}.")


def _remedy(path: pathlib.Path) -> str:
    return REMEDIES.get(path.name, OTHERWISE)


def _checked(path: pathlib.Path, values, kinds: dict[str, Callable[[object], bool]], *names: str) -> dict:
    """The values of a file if they are by name, those of `names` among them, and of these kinds."""
    lacking = [name for name in names if not isinstance(values, dict) or name not in values]
    if lacking:
        raise damaged(path, f"it has no {', '.join(map(repr, lacking))}")
    wrong = [name for name, is_fine in kinds.items() if name in values and not is_fine(values[name])]
    if wrong:
        raise damaged(path, f"{wrong[0]!r} cannot be {reprlib.repr(values[wrong[0]])}")
    return values


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_numbers(value) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_layers(value) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and all(map(_is_count, row[1:]))
        for row in value
    )


def _is_text(value) -> bool:
    return isinstance(value, str)


def _is_object(value) -> bool:
    return isinstance(value, dict)


_CONFIG = {"settings": _is_object, "recipe": _is_object, "initial_weights_seed": _is_count}
_RESULT = {
    **dict.fromkeys(("name", "score"), _is_text),
    **dict.fromkeys(("active_weights", "weights", "parameters", "model_bytes"), _is_count),
    **dict.fromkeys(("test_scores", "changed"), _is_numbers),
    "test_score": _is_number,
    "layers": _is_layers,
    "test_top5": lambda value: value is None or _is_number(value),
}


def _masks(path: pathlib.Path, model: keras.Model, result: dict) -> dict[str, np.ndarray] | None:
    """The masks that a checkpoint holds, if they fit the result: in the stripped model an active 0 is as any other."""
    if not path.is_file():
        return None
    active = {name: count for name, count, _ in result["layers"]}
    masks = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # numpy asks for no checksum
                return None
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
