"""What a recipe is: the hyperparameters of one experiment of a paper, by epoch of its own schedule."""

import dataclasses
from collections.abc import Mapping

from train.methods import Marks, Method, find_method


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Defaults for the flags, and what has no flag.

    Every epoch in it (in `learning_rates`, `stop_at` and the methods' marks, but for the phases of DSD) counts on the
    recipe's own schedule of `epochs` epochs. A run of another length stretches or squeezes all of them in proportion.

    Attributes:
        model: name of the network.
        datasets: names of the data sets that it is for; the first is the default.
        sparsity: float in [0, 1), of the sparse kernels.
        epochs: int, length of the schedule.
        batch_size: int, examples in a step.
        learning_rates: `(epoch, learning rate)` pairs, each in force from that epoch on.
        weight_decay: float, the coefficient as the paper gives it: an L2 gradient that goes through the momentum.
        methods: the numbers of methods, by name. One that is not here has those of `METHODS`.
        stop_at: the epoch of the last reallocation (of every method that moves weights); None: when 95% are over.
        clip: number, the norm of all gradients together above which they are scaled down to it; None: they never are.
        optimizer: `"adam"`; None: gradient descent with Nesterov momentum of 0.9.
        dropout: float, the fraction of hidden units that are dropped in training; None: none.
        label_noise: float, the share of labels to train on that are wrong; None: none.
        width: number, the width of the network (see `Settings`).
        steps_per_execution: int, at most so many steps run in one call of TensorFlow; it changes no result.
    """

    model: str
    datasets: tuple[str, ...]
    sparsity: float
    epochs: int
    batch_size: int
    learning_rates: Marks
    weight_decay: float
    methods: Mapping[str, Method]
    stop_at: float | None = None
    clip: float | None = None
    optimizer: str | None = None
    dropout: float | None = None
    label_noise: float | None = None
    width: float = 1.0
    steps_per_execution: int = 1

    def method(self, name: str) -> Method:
        """A method of `METHODS`, with the numbers of this recipe, or one of the user's own."""
        return self.methods[name] if name in self.methods else find_method(name)
