"""What a recipe is: the hyperparameters of one experiment of a paper, by epoch of its own schedule."""

import dataclasses

Marks = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Phases:
    """Dense-sparse-dense training. The learning rates of the recipe are gone through in each phase, times its factor.

    Attributes:
        sparsities: of the sparse phase of each round.
        dense: epochs of the dense phase before each of them.
        sparse: epochs of each of them.
        final: epochs of the last dense phase.
        sparse_factor: on the learning rates in sparse phases.
        final_factor: on the learning rates, each time that cut weights are restored, for all that follows.
        by_sensitivity: whether each weight gets a sparsity of its own, by what cutting it costs, with these for all of
            them together.
    """

    sparsities: tuple[float, ...]
    dense: tuple[int, ...]
    sparse: tuple[int, ...]
    final: int
    sparse_factor: float = 1.0
    final_factor: float = 0.1
    by_sensitivity: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """Epochs of every phase, in their order."""
        rounds = zip(self.dense, self.sparse, strict=True)
        return (*(length for pair in rounds for length in pair), self.final)


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
        dsd: the phases of DSD, in epochs of their own, not of the schedule.
        target: DSR and SET, how many weights to move in a reallocation; an int, or a float in (0, 1) as a share of the
            active.
        clip: number, the norm of all gradients together above which they are scaled down to it; None: they never are.
        width: number, the width of the network (see `Settings`).
        kernel_target: DSR and SET at kernel granularity, how many slices to move; None: `target`.
        set_fractions: SET, the fraction of the weights that moves, by sparsity, where the paper gives it; elsewhere it
            moves as many as DSR.
        period: DSR and SET, `(epoch, steps)` pairs: steps between reallocations from that epoch on.
        stop_at: the epoch of the last reallocation (of every method that moves weights); None: when 95% are over.
        temperatures: DeepR, `(epoch, temperature)` pairs, each in force from that epoch on.
        l1: DeepR, the L1 penalty.
        pruning_schedule: "compressed", `"polynomial"` (cubic) or `"exponential"`.
        rigl_period: RigL, as `period`.
        rigl_fraction: RigL, the fraction of each tensor that moves in the first reallocation.
        rigl_ends: RigL, the fraction of the training after which none moves.
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
    dsd: Phases
    target: int | float = 0.1
    period: Marks = ((0, 100),)
    stop_at: float | None = None
    temperatures: Marks = ((0, 1e-5),)
    clip: float | None = None
    width: float = 1.0
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
