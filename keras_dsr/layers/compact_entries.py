"""What a file holds of a layer in compact storage: checked as a whole before anything of it is taken."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_dsr.ops.unit_lists import weights_of_units

REQUIRED = ("kernel_values", "kernel_rows", "kernel_columns", "kernel_threshold")


def check_entries(
    entries: Mapping[str, Any],
    shape: tuple[int, int],
    capacity: int,
    bias: tuple[int, ...] | None,
    unit_size: int,
    owner: str,
) -> dict[str, np.ndarray]:
    """The lists among the entries, each of one number for each weight.

    Args:
        entries: what was stored, by name.
        shape: of the matrix.
        capacity: how many weights the layer has room for.
        bias: the shape of its bias; None: it has none.
        unit_size: how many weights are a unit.
        owner: the class and name of the layer, for messages.

    Raises:
        ValueError: an entry is missing, of another shape, or no list of distinct increasing positions; or there are
            more weights than there is room for.
    """
    missing = set(REQUIRED) - set(entries)
    stored_bias = np.shape(entries["bias"]) if "bias" in entries else None
    if missing or stored_bias != bias:
        expected = ", ".join(REQUIRED) + (f" and a bias of shape {bias}" if bias is not None else " and no bias")
        received = ", ".join(sorted(entries)) + (f", bias of shape {stored_bias}" if stored_bias else "")
        raise ValueError(
            f"The weights that are loaded into {owner} are not those of a compact layer like it: it expects "
            f"{expected}. Received: {received or 'nothing'}. Build the layer with the storage with which it was saved."
        )
    lists = {name: np.asarray(value) for name, value in entries.items() if np.ndim(value) == 1 and name != "bias"}
    has_lists = {*REQUIRED[:3]} <= set(lists) and len({len(value) for value in lists.values()}) == 1
    if not has_lists:
        raise _no_positions(owner, shape)
    check_positions(lists["kernel_rows"], lists["kernel_columns"], shape, unit_size, owner)
    count = len(lists["kernel_values"])
    if count > capacity:
        raise ValueError(
            f"{owner} has room for {capacity:,} weights. Received: {count:,} in the file. Build it with a larger "
            f"capacity, such as capacity={count}."
        )
    return lists


def check_positions(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], unit_size: int, owner: str) -> None:
    """Raise `ValueError` if these are not distinct positions of a matrix, in increasing order and of whole units.

    Args:
        rows, columns: int arrays of one dimension.
        shape: of the matrix.
        unit_size: how many weights are a unit.
        owner: the class and name of the layer, for messages.
    """
    if not _are_increasing_places(rows, columns, shape):
        raise _no_positions(owner, shape)
    positions = rows.astype("int64") * shape[1] + columns
    of_units = weights_of_units(positions[: len(positions) // unit_size], unit_size, math.prod(shape) // unit_size)
    if not np.array_equal(of_units.reshape(-1), positions):
        raise ValueError(
            f"The positions that are loaded into {owner} must be whole slices of {unit_size} weights, as its "
            f"pattern is 'kernel'. Received: {len(positions):,} weights, of which some slices have but a part. "
            "They are of a model of pattern 'element'."
        )


def _no_positions(owner: str, shape: tuple[int, int]) -> ValueError:
    return ValueError(
        f"The positions that are loaded into {owner} are not distinct positions of a matrix of shape {shape} in "
        "increasing order: they are damaged, of another layer, or an average (positions cannot be averaged)."
    )


def _are_increasing_places(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> bool:
    rows, columns = rows.astype("int64"), columns.astype("int64")
    if not rows.size or rows.min() < 0 or columns.min() < 0 or columns.max() >= shape[1]:
        return False
    positions = rows * shape[1] + columns
    return bool(positions[-1] < math.prod(shape) and (np.diff(positions) > 0).all())
