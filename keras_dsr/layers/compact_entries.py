"""What a file holds of a layer in compact storage: checked as a whole before anything of it is taken."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

REQUIRED = ("kernel_values", "kernel_rows", "kernel_columns", "kernel_threshold")


def check_entries(
    entries: Mapping[str, Any], shape: tuple[int, int], capacity: int, bias: tuple[int, ...] | None, owner: str
) -> dict[str, np.ndarray]:
    """The lists among the entries, each of one number for each weight.

    Args:
        entries: what was stored, by name.
        shape: of the matrix.
        capacity: how many weights the layer has room for.
        bias: the shape of its bias; None: it has none.
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
    check_positions(lists["kernel_rows"], lists["kernel_columns"], shape, owner)
    count = len(lists["kernel_values"])
    if count > capacity:
        raise ValueError(
            f"{owner} has room for {capacity:,} weights. Received: {count:,} in the file. Build it with a larger "
            f"capacity, such as capacity={count}."
        )
    return lists


def check_positions(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], owner: str) -> None:
    """Raise `ValueError` if these are not distinct positions of a matrix of the shape, in increasing order."""
    if not _are_increasing_places(rows, columns, shape):
        raise _no_positions(owner, shape)


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
