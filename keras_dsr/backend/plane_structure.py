"""What a list of positions means for a convolution: which weights go to each output, and to each plane of the inputs.

It is worked out when a list is new and remembered by the list's digest: a step only multiplies, and nobody who writes
to the positions is overlooked.
"""

import collections
import itertools

import numpy as np

from keras_dsr.backend.plane_compilation import kernels
from keras_dsr.backend.planes import Planes, Window
from keras_dsr.backend.threads import SMALL, shares_of, together

REMEMBERED = 2**25  # weights of all lists whose meaning is remembered, at some 32 bytes each
LARGEST_INT32 = 2**31 - 1

_STRUCTURES: collections.OrderedDict = collections.OrderedDict()


class Rows:
    """The weights in groups: those of each row of a product.

    Attributes:
        starts: where the weights of each row begin, ints of shape `(rows + 1,)`.
        order: their order, as they are stored; None: as they are.
    """

    def __init__(self, keys: np.ndarray, rows: int, planes: np.ndarray, shifts: np.ndarray):
        self.starts, order = kernels().grouped(keys, rows)
        self.order = None if (order[1:] > order[:-1]).all() else order.astype("int32")
        self._planes, self._shifts = planes[order].astype("int32"), shifts[order].astype("int32")
        self._offsets: dict[tuple[int, int], np.ndarray] = {}
        self._shares: dict[int, list[tuple[int, int]]] = {}

    def offsets(self, first: int, stride: int) -> np.ndarray:
        """Where the plane that each weight multiplies begins, for planes from `first` on; remembered for some sizes."""
        if (first, stride) not in self._offsets:
            offsets = first + self._planes.astype("int64") * stride + self._shifts
            fits = offsets.max(initial=0) < LARGEST_INT32 // 2
            while len(self._offsets) > 2:
                self._offsets.pop(next(iter(self._offsets)))
            self._offsets[first, stride] = offsets.astype("int32") if fits else offsets
        return self._offsets[first, stride]

    def shares(self, most: int, length: int, of_channel: int = 1) -> list[tuple[int, int]]:
        """For each of at most so many threads a part of the rows, of about as many weights, to multiply planes.

        Args:
            most: int, threads.
            length: int, of the planes.
            of_channel: int, rows of one channel, of which no two threads have a part.
        """
        parts = max(1, min(most, int(self.starts[-1]) * length // (16 * SMALL)))
        if parts not in self._shares:
            ends = np.searchsorted(self.starts, np.linspace(0, self.starts[-1], parts + 1))
            ends = (ends // of_channel * of_channel).tolist()
            ends[0], ends[-1] = 0, len(self.starts) - 1
            self._shares[parts] = [share for share in itertools.pairwise(ends) if share[1] > share[0]]
        return self._shares[parts]


class Structure:
    """What a list of positions means for a convolution, whatever the number of images.

    Attributes:
        count: int, the positions.
        of_outputs: the weights of each output, which multiply planes of the inputs.
        of_inputs: the weights of each plane of the inputs, which multiply planes of the upstream.
    """

    def __init__(self, indices: np.ndarray, window: Window, planes: Planes):
        self.count = len(indices)
        rows, columns = indices[:, 0].astype("int64"), indices[:, 1].astype("int64")
        shape = window.matrix_shape
        if not (len(rows) and rows.min() >= 0 <= columns.min() and rows.max() < shape[0] and columns.max() < shape[1]):
            raise ValueError(
                f"Positions of a layer in compact storage must be rows and columns of a matrix of shape {shape}. "
                f"Received: rows from {rows.min(initial=0)} to {rows.max(initial=0)}, columns from "
                f"{columns.min(initial=0)} to {columns.max(initial=0)}. Load the weights of the layer again."
            )
        of_group = window.channels // window.groups
        phases, shifts = planes.taps
        tap, channel = np.divmod(rows, of_group)
        channel += columns // (window.filters // window.groups) * of_group
        plane, shift = channel * len(planes.phases) + phases[tap], shifts[tap]
        self.of_outputs = Rows(columns, window.filters, plane, shift)
        self.of_inputs = Rows(plane, planes.count, columns, -shift)


def structure_of(window: Window, planes: Planes, indices: np.ndarray, count: int) -> Structure:
    """What the first `count` positions mean. The caller sees to it that no other thread calls at the same time."""
    parts = together(kernels().digest, shares_of(count), indices)
    key = sum(int(part) for part in parts) % 2**64, count, window, planes.taps[1].tobytes()
    if key in _STRUCTURES:
        _STRUCTURES.move_to_end(key)
        return _STRUCTURES[key]
    _STRUCTURES[key] = structure = Structure(indices[:count], window, planes)
    while len(_STRUCTURES) > 1 and sum(known[1] for known in _STRUCTURES) > REMEMBERED:
        _STRUCTURES.popitem(last=False)
    return structure
