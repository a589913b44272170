"""The lottery-ticket test (Frankle & Carbin, ICLR 2019, arXiv 1803.03635): train with the final mask of another run."""

from pathlib import Path

import numpy as np

from keras_dsr.weights.sparse_weight import SparseWeight
from train.methods import METHODS, is_own
from train.results import run_files as runs
from train.storage import checkpoint
from train.storage.run_folder import read_config

# What others need to know of a run.
ORIGIN = ("model", "dataset", "method", "sparsity", "batch_size", "seed", "recipe", "depth", "width", "pattern")
ORIGIN += ("initial_weights_seed",)


def read_origin(folder: str, flag: str) -> dict:
    """The settings of a finished run, and its `initial_weights_seed`.

    Args:
        folder: its folder.
        flag: the flag that names it, for the message.

    Raises:
        FileNotFoundError: there is no finished run.
        ValueError: its config.json is damaged.
    """
    path = Path(folder) / "config.json"
    config = read_config(path.parent)
    if config is None or not (Path(folder) / "result.json").exists():
        state = "holds no run" if config is None else "holds a run that is not finished"
        raise FileNotFoundError(f"--{flag}={folder} {state}. Pass the folder of one that has been trained to its end.")
    origin = {**config["settings"], **{name: config[name] for name in ("initial_weights_seed",) if name in config}}
    lacking = [name for name in ORIGIN if name not in origin]
    if lacking:
        raise runs.damaged(path, f"it has no {', '.join(map(repr, lacking))}")
    if not is_own(origin["method"]) and origin["method"] not in METHODS:
        raise runs.damaged(path, f"'method' cannot be {origin['method']!r}")
    return origin


def initial_weights_seed(seed: int, init_from: str | None) -> int:
    """The seed of the first weights: the run's own; that of the run whose first weights it takes; or that of new ones.

    A sparse layer draws all of its kernel and then masks it, so the seed alone fixes a weight also where the other run
    had none at first.

    Args:
        seed: int, of the run.
        init_from: None, the folder of the other run, or `"random"`.
    """
    if init_from is None:
        return seed
    if init_from == "random":  # not the run's own seed, which may well be that of the run with the mask
        return seed ^ 0x5EED5EED
    return read_origin(init_from, "init_from")["initial_weights_seed"]


def read_masks(folder: str) -> list[np.ndarray]:
    """The final masks of a run, bool arrays in the order of its network.

    Raises:
        ValueError: the run has none, or its checkpoint is damaged.
    """
    variables = checkpoint.read_variables(Path(folder) / "checkpoint")
    masks = [array for name, array in variables if name.endswith(("/kernel_mask", "_kernel_mask"))]
    if not masks:
        raise ValueError(f"--mask_from={folder} is a run without masks. Pass one of a sparse method, such as dsr.")
    return masks


def apply_masks(weights: list[SparseWeight], masks: list[np.ndarray]) -> None:
    """Give a network with all weights the masks of another of the same architecture.

    Raises:
        ValueError: the masks are of another architecture.
    """
    here, there = [weight.shape for weight in weights], [mask.shape for mask in masks]
    if here != there:
        raise ValueError(f"--mask_from is a run of another network: its masks have shapes {there}, not {here} as here.")
    for weight, mask in zip(weights, masks):
        weight.set_mask(mask)
