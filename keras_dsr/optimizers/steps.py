"""Counting the optimizer's steps on the host, so that a batch on which nothing is due touches no variable."""

import keras

from keras_dsr.optimizers.slots import batches_a_step, batches_taken


class StepCounter:
    """How many steps an optimizer has taken, as a callback of `fit` can know it without asking the device.

    Args:
        optimizer: built or not.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._batches_a_step = batches_a_step(optimizer)
        self._batches_before = None
        self._step = None

    def epoch_begins(self, optimizer: keras.optimizers.Optimizer) -> int:
        """Ask the optimizer, when an epoch begins: before the first one a restored checkpoint is not yet in place."""
        self._batches_before = batches_taken(optimizer)
        taken = self._batches_before // self._batches_a_step
        self._step = taken if self._step is None else min(self._step, taken)
        return self._step

    def batch_ends(self, batch: int) -> tuple[int, int]:
        """The steps before and after what has just run, by counting.

        Keras counts the last execution of an epoch in full, also where the data ended within it: before acting on the
        second number, `ask`.
        """
        previous, self._step = self._step, (self._batches_before + batch + 1) // self._batches_a_step
        return previous, self._step

    def ask(self, optimizer: keras.optimizers.Optimizer, batch: int) -> int:
        """The steps taken after a batch, from the optimizer itself."""
        taken = batches_taken(optimizer)
        self._batches_before = taken - batch - 1
        self._step = taken // self._batches_a_step
        return self._step
