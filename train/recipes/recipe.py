"""What a recipe is: the hyperparameters of one experiment of a paper, by epoch of its own schedule."""

import dataclasses

Marks = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Defaults for the flags, and what has no flag.

    Every epoch in it (in `learning_rates`, `period`, `temperatures` and `stop_at`) counts on the recipe's own schedule
    of `epochs` epochs. A run of another length stretches or squeezes all of them in proportion.

    Attributes:
        model: name of the network.
        datasets: names of the data sets that it is for; the first is the default.
        sparsity: float in [0, 1), of the sparse kernels.
        epochs: int, length of the schedule.
        batch_size: int, examples in a step.
        learning_rates: `(epoch, learning rate)` pairs, each in force from that epoch on.
        weight_decay: float, the coefficient as the paper gives it: an L2 gradient that goes through the momentum.
        target: DSR and SET, how many weights to move in a reallocation; an int, or a float in (0, 1) as a share of the
            active.
        kernel_target: DSR and SET at kernel granularity, how many slices to move; None: `target`.
        set_fractions: SET, the share of the weights that moves, by sparsity, where the paper gives it; elsewhere it
            moves as many as DSR.
        period: DSR and SET, `(epoch, steps)` pairs: steps between reallocations from that epoch on.
        stop_at: the epoch of the last reallocation (of every method that moves weights).
        temperatures: DeepR, `(epoch, temperature)` pairs, each in force from that epoch on.
        l1: DeepR, the L1 penalty.
        pruning_schedule: "compressed", `"polynomial"` (cubic) or `"exponential"`.
        rigl_period: RigL, as `period`.
        rigl_fraction: RigL, the share of each tensor that moves in the first reallocation.
        rigl_ends: RigL, the share of the training after which none moves.
        last_kernel_at_most: "compressed", a sparsity above which the last kernel is not cut; None: cut as the others.
        static_lasts: int, how many times longer static sparse and thin dense training take, to be a fair rival.
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
    temperatures: Marks
    kernel_target: int | None = None
    set_fractions: tuple[tuple[float, float], ...] = ()
    l1: float = 1e-5
    rigl_period: Marks = ((0, 100),)
    rigl_fraction: float = 0.3
    rigl_ends: float = 0.75
    pruning_schedule: str = "polynomial"
    last_kernel_at_most: float | None = None
    static_lasts: int = 1
    steps_per_execution: int = 1
