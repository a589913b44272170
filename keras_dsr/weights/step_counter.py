"""Counting the optimizer's steps on the host, so that a batch on which nothing is due touches no variable."""

import keras

from keras_dsr.backend.keras_slots import batches_a_step, batches_taken


class StepCounter:
    """How many steps an optimizer has taken, known without asking the device where one batch is one step.

    Args:
        optimizer: built or not.
        taken: int, the steps that it had taken when counting began; None: it is asked, now, and again when the first
            epoch begins, as a checkpoint may be restored until then.
        asks: whether to ask the optimizer each time, as it is not known how many steps it takes for a batch.

    Attributes:
        step: int, the steps taken, by counting.
        asks: bool.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, taken: int | None = None, asks: bool = False):
        self._optimizer = optimizer
        self._batches_a_step = batches_a_step(optimizer)
        self._batches = batches_taken(optimizer) if taken is None else taken * self._batches_a_step
        self._may_be_restored = taken is None
        self.step = self._batches // self._batches_a_step
        self.asks = asks

    def synchronize(self) -> int:
        """Ask the optimizer, when an epoch begins: before the first one a restored checkpoint is not yet in place."""
        self._batches = batches_taken(self._optimizer)
        taken = self._batches // self._batches_a_step
        self.step = taken if self._may_be_restored else min(self.step, taken)
        self._may_be_restored = False
        return self.step

    def advance(self, batches: int) -> tuple[int, int]:
        """The steps before and after some batches that have just run, by counting.

        Keras counts the last execution of an epoch in full, also where the data ended within it: before acting on the
        second number, `ask`.
        """
        previous, self._may_be_restored = self.step, False
        if self.asks:
            return previous, self.ask()
        self._batches += batches
        self.step = self._batches // self._batches_a_step
        return previous, self.step

    def ask(self) -> int:
        """The steps taken, from the optimizer itself."""
        self._batches = batches_taken(self._optimizer)
        self.step = self._batches // self._batches_a_step
        return self.step

    def step_after(self, batches: int) -> int:
        """The steps after so many more batches, by counting."""
        return (self._batches + batches) // self._batches_a_step
