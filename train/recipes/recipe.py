"""What a recipe is: the hyperparameters of one experiment of a paper, by epoch of its own schedule."""

import dataclasses

Marks = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Defaults for the flags, and what has no flag.

    Every epoch in it (in `learning_rates`, `period` and `stop_at`) counts on the recipe's own schedule of `epochs`
    epochs. A run of another length stretches or squeezes all of them in proportion.

    Attributes:
        model: name of the network.
        datasets: names of the data sets that it is for; the first is the default.
        sparsity: float in [0, 1), of the sparse kernels.
        epochs: int, length of the schedule.
        batch_size: int, examples in a step.
        learning_rates: `(epoch, learning rate)` pairs, each in force from that epoch on.
        weight_decay: float, the coefficient as the paper gives it: an L2 gradient that goes through the momentum.
        target: DSR, how many weights to move in a reallocation; an int, or a float in (0, 1) as a share of the active.
        period: DSR, `(epoch, steps)` pairs: steps between reallocations from that epoch on.
        stop_at: DSR, the epoch of the last reallocation.
        static_lasts: int, how many times longer static sparse training takes, to be a fair rival.
        steps_per_execution: int, at most so many steps run in one call of TensorFlow; it changes no result.
    """

    model: str
    datasets: tuple[str, ...]
    sparsity: float
    epochs: int
    batch_size: int
    learning_rates: Marks
    weight_decay: float
    target: int | float
    period: Marks
    stop_at: int
    static_lasts: int = 1
    steps_per_execution: int = 1
