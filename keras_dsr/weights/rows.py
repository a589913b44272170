"""Rows of tables of sparse weights, and their totals."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class WeightRow:
    """One sparse weight: of the positions of its shape, `active` hold a weight."""

    name: str
    shape: tuple[int, ...]
    active: int

    @property
    def size(self) -> int:
        """The number of positions of the dense tensor."""
        return math.prod(self.shape)

    @property
    def sparsity(self) -> float:
        """The fraction of positions that are zero, in [0, 1)."""
        return 1 - self.active / self.size


class Totals:
    """Mixin with sums over `rows`."""

    rows: tuple[WeightRow, ...]

    @property
    def active(self) -> int:
        """The number of active weights, over all rows."""
        return sum(row.active for row in self.rows)

    @property
    def size(self) -> int:
        """The number of positions, over all rows."""
        return sum(row.size for row in self.rows)

    @property
    def sparsity(self) -> float:
        """The fraction of positions that are zero, over all rows (0 if there are none)."""
        return 1 - self.active / self.size if self.rows else 0.0
