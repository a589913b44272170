"""Methods that leave the weights where they are."""

import dataclasses

from train.methods.base import Method


@dataclasses.dataclass(frozen=True)
class Dense(Method):
    """Every weight."""

    kernels = "dense"


@dataclasses.dataclass(frozen=True)
class Hashed(Method):
    """Few values, each shared by many weights (HashedNet)."""

    kernels = "tied"


@dataclasses.dataclass(frozen=True)
class Static(Method):
    """The weights that there are at first, trained longer than others to be a fair rival.

    Attributes:
        lasts: int, how many times as long as the recipe's schedule.
    """

    lasts: int = 1

    def epochs(self, recipe) -> int:
        return super().epochs(recipe) * self.lasts


@dataclasses.dataclass(frozen=True)
class Thin(Static):
    """A thinner dense network of as many bytes as the sparse weights and their masks."""

    kernels = "thin"
