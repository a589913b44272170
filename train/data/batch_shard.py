"""Which rows of each batch a process reads, when several share the batches among them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of each batch that process `index` of `count` reads: `batch_size / count` rows that follow each other.

    The parts of all processes, one after the other, are the batch that a single process reads, bit by bit.

    Attributes:
        index: int, from 0 to `count - 1`.
        count: int, the number of processes, at least 1.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"Part(index=..., count=...) must have 0 <= index < count: which process, and of how many. Received: "
                f"index={self.index}, count={self.count}"
            )

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that belong to this part.

        Args:
            batch_size: int, the examples in a batch, those of all parts together.

        Raises:
            ValueError: the parts would not be of the same size.
        """
        size, rest = divmod(batch_size, self.count)
        if rest:
            raise ValueError(
                f"batch_size must be divisible by {self.count}, the number of processes that share each batch. "
                f"Received: batch_size={batch_size}. {size * self.count or self.count} would do."
            )
        return slice(self.index * size, (self.index + 1) * size)


WHOLE = Part()
