"""The folder of one run: whether it may be used, and files that are there whole or not at all."""

import csv
import io
import json
import shutil
from pathlib import Path

from keras_dsr.saving.atomic import SUFFIX, written_beside
from train.results import run_files as runs
from train.storage import lock

_PROGRAM = "train.run"
# What version 0.1.0 called the numbers of methods that have another name now.
_FIRST_NAMES = {
    "static": {"lasts": "static_lasts"},
    "thin": {"lasts": "static_lasts"},
    "set": {"fractions": "set_fractions"},
    "rigl": {"period": "rigl_period", "fraction": "rigl_fraction", "ends": "rigl_ends"},
    "compressed": {"schedule": "pruning_schedule"},
}


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in one step."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_rows(path: str | Path, rows: list[dict]) -> None:
    """Write rows with the same keys as a CSV file, in one step."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_config(folder: Path, config: dict) -> None:
    """Write `config.json`, which marks a folder as that of a run."""
    write_text(folder / "config.json", json.dumps({"program": _PROGRAM, **config}, indent=2) + "\n")


def read_config(folder: Path) -> dict | None:
    """What `write_config` wrote; None if the folder is not that of a run.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    config = runs.read_json(path)
    is_ours = isinstance(config, dict) and config.get("program") == _PROGRAM
    return runs.read_config(path) if is_ours else None


def check_folder(folder: Path, config: dict, resume: bool, overwrite: bool) -> None:
    """Whether a run may write to a folder. Changes nothing.

    Args:
        folder: the folder of results; it may not exist yet.
        config: what `write_config` would write.
        resume, overwrite: what the user asked to do with an old run.

    Raises:
        FileExistsError: there is something in the folder, and no leave to use it.
        FileNotFoundError: `resume`, and there is no run to go on with.
        ValueError: `resume`, and the run there has another configuration.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--out={folder} is a file. Pass the name of a folder.")
    old = read_config(folder)
    if resume:
        _check_resume(folder, old, config)
        return
    if is_empty(folder):
        return
    if old is None:
        raise FileExistsError(
            f"--out={folder} is not empty and holds no run of this program (no config.json of one). "
            "Nothing was changed. Pass another --out."
        )
    if not overwrite:
        raise FileExistsError(
            f"--out={folder} holds a run already. Pass --resume to go on with it, --overwrite to remove it and start "
            "again, or another --out."
        )


def is_empty(folder: Path) -> bool:
    """Whether a folder is not there, or has nothing in it but its lock and what a killed process did not finish."""
    if not folder.exists():
        return True
    return all(path.name == lock.NAME or path.name.endswith(SUFFIX) for path in folder.iterdir())


def clear(folder: Path) -> None:
    """Create a folder, or remove all that is in it but its lock."""
    folder.mkdir(parents=True, exist_ok=True)
    # The mark goes last: if this is interrupted, the rest is still known to be a run's.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "config.json"):
        if path.name != lock.NAME:
            _remove(path)


def _check_resume(folder: Path, old: dict | None, config: dict) -> None:
    if old is None or not (folder / "checkpoint").exists():
        lacking = "config.json" if old is None else "checkpoint"
        raise FileNotFoundError(
            f"--resume: there is no run to go on with in --out={folder} (no {lacking}). "
            f"{'Leave out --resume to start it.' if old is None else 'Pass --overwrite to start it again.'}"
        )
    config = json.loads(json.dumps(config))
    if "method" not in old:
        old = {**old, "method": _method_of_first_version(old, config)}
    differences = [
        f"{part} {name}: {old.get(part, {}).get(name)!r} there, {value!r} asked for"
        for part in ("settings", "recipe", "method")
        for name, value in config[part].items()
        if old.get(part, {}).get(name) != value
    ]
    if differences:
        raise ValueError(
            f"The run in --out={folder} was started with other settings, so it cannot be resumed. "
            f"{'; '.join(differences)}. Pass the same settings, "
            "another --out, or --overwrite to start it again."
        )


def _method_of_first_version(old: dict, config: dict) -> dict:
    """The numbers of the method, which version 0.1.0 kept in the recipe, beside those of all others."""
    recipe = old.get("recipe", {})
    recipe = {**recipe, **recipe.get("dsd", {})}
    names = _FIRST_NAMES.get(config["settings"]["method"], {})
    return {name: recipe.get(names.get(name, name), value) for name, value in config["method"].items()}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
