"""When to reallocate: callbacks for `model.fit`."""

from collections.abc import Callable, Sequence

import keras

from keras_dsr import schedules
from keras_dsr.arguments import checked_pairs, is_function, is_whole
from keras_dsr.methods import DSR
from keras_dsr.methods.contract import check_method, constants_of
from keras_dsr.optimizers.steps import StepCounter
from keras_dsr.seam import Reallocation
from keras_dsr.seam.training import FastTraining

Period = int | Sequence[tuple[int, int]] | Callable[[int], int]


class Reallocate(keras.callbacks.Callback):
    """Runs a method on the model's sparse weights every `period` optimizer steps.

    A batch without a reallocation costs two integer operations on the host: no variable and no device is touched. List
    this callback before those that save the model or write the logs (`BackupAndRestore`, `CSVLogger`, `TensorBoard`).

    Each epoch's logs get `sparsity` (the share of weights that are zero, over all sparse tensors), `dsr_reallocations`
    (how many there were in this epoch) and, where the method has them, `dsr_threshold` (H after the last reallocation)
    and `dsr_pruned` (units pruned and regrown in this epoch).

    Args:
        method: a method, such as `keras_dsr.methods.DSR(target=600)`.
        period: int, steps between reallocations; or `(epoch, period)` pairs, each in force from that epoch on, such as
            `[(0, 100), (25, 200)]`; or a function of the epoch. None: 1 for a method that acts at every step
            (`DeepR`), else 100.
        stop_at: int, the epoch (counted from 0, as in `fit`) from which on there are none; None: never.
        seed: int, of the method's random numbers, which depend on (seed, tensor, step) alone.

    Raises:
        ValueError: at once for a bad `period` or `stop_at`; when training begins, before the first step, for a model
            without sparse layers or with layers of different granularity, and for one compiled with
            `steps_per_execution` above 1 if the method acts at every step.

    Example:

    >>> model.fit(x, y, epochs=30, callbacks=[keras_dsr.Reallocate(keras_dsr.methods.DSR(target=600), period=100)])
    """

    def __init__(self, method, period: Period | None = None, stop_at: int | None = None, seed: int = 0):
        super().__init__()
        owner = type(self).__name__
        check_method(method, owner)
        every_step = constants_of(method).every_step
        if stop_at is not None and (not is_whole(stop_at) or stop_at < 0):
            raise ValueError(
                f"{owner}(stop_at=...) must be an epoch, an int of at least 0, or None. Received: stop_at={stop_at!r}"
            )
        if not is_whole(seed):
            raise ValueError(f"{owner}(seed=...) must be an int. Received: seed={seed!r}")
        self.method = method
        self.stop_at = stop_at
        self.seed = int(seed)
        if every_step and period is not None and not (is_whole(period) and period == 1):
            raise ValueError(
                f"{owner}(period=...): {type(method).__name__} acts after every step of the optimizer: pass period=1, "
                f"or leave it out. Received: period={period!r}"
            )
        self._period_at = _period_schedule(period if period is not None else 1 if every_step else 100, owner)
        self._reallocation = None

    def on_train_begin(self, logs=None):
        if self.method.every_step and self.model.steps_per_execution != 1:
            raise ValueError(
                f"{type(self.method).__name__} acts after every step of the optimizer, and a callback is called once "
                "in `steps_per_execution` steps: compile the model with steps_per_execution=1. "
                f"Received: steps_per_execution={self.model.steps_per_execution!r}"
            )
        if self._reallocation is None or not self._reallocation.is_of(self.model):
            self._reallocation = Reallocation(self.model, self.method, self.seed)
        else:
            self._reallocation.begin()
        self._steps = StepCounter(self.model.optimizer)
        self._fast_training = FastTraining(self.model, self._reallocation.weights)
        self._fast_training.begin()

    def on_train_end(self, logs=None):
        self._fast_training.end()

    def on_epoch_begin(self, epoch, logs=None):
        self._stopped = self.stop_at is not None and epoch >= self.stop_at
        self._period = self._period_at(epoch)
        if not _is_period(self._period):
            raise ValueError(f"period(epoch) must be a positive int. Received: period({epoch}) = {self._period!r}")
        self._steps.epoch_begins(self.model.optimizer)
        self._outcomes = []

    def on_train_batch_end(self, batch, logs=None):
        # With steps_per_execution > 1 some steps are never seen: ask whether a multiple was crossed.
        previous, step = self._steps.batch_ends(batch)
        if self._stopped or step // self._period == previous // self._period:
            return
        if self._steps.ask(self.model.optimizer, batch) // self._period > previous // self._period:
            self._outcomes.append(self._synchronized()())

    def on_epoch_end(self, epoch, logs=None):
        if logs is None:
            return
        reallocation = self._synchronized()
        logs["sparsity"] = reallocation.sparsity()
        logs["dsr_reallocations"] = len(self._outcomes)
        if "threshold" in reallocation.initial_state:
            logs["dsr_threshold"] = reallocation.threshold()
        if "pruned" in reallocation.initial_state:
            logs["dsr_pruned"] = sum(int(outcome.state["pruned"]) for outcome in self._outcomes)

    def _synchronized(self) -> Reallocation:
        """The reallocation, to read and write the model: on JAX `self.model` first brings its variables up to date."""
        assert self.model is self._reallocation.model
        return self._reallocation


class DSRCallback(Reallocate):
    """Dynamic sparse reparameterization: `Reallocate` with `methods.DSR` (Mostafa & Wang, ICML 2019).

    Args:
        target: how many weights to move in a reallocation: an int is a number of weights (of slices at kernel
            granularity), a float in (0, 1) a fraction of the active ones.
        period: steps between reallocations, or a schedule (see `Reallocate`).
        initial_threshold: float, the threshold H before the first reallocation.
        tolerance: float in [0, 1), H stays while the number pruned is within `(1 ± tolerance) * target`.
        stop_at: int, the epoch from which on there are no reallocations; None: never.
        seed: int.

    Raises:
        ValueError: for each argument out of range, at once; for an unfit model when training begins.

    Example:

    >>> model.fit(x, y, epochs=30, callbacks=[keras_dsr.DSRCallback(target=600, period=100)])
    """

    def __init__(
        self,
        target: int | float = 0.1,
        period: Period = 100,
        initial_threshold: float = 1e-3,
        tolerance: float = 0.1,
        stop_at: int | None = None,
        seed: int = 0,
    ):
        method = DSR(target=target, initial_threshold=initial_threshold, tolerance=tolerance, growth="zeros")
        super().__init__(method, period=period, stop_at=stop_at, seed=seed)


def _period_schedule(period: Period, owner: str) -> Callable[[int], int]:
    if is_function(period):
        return period
    if _is_period(period):
        return lambda epoch: period
    pairs = period if isinstance(period, Sequence) and not isinstance(period, str) else ()
    if not pairs or not all(isinstance(pair, Sequence) and len(pair) and _is_period(pair[-1]) for pair in pairs):
        raise ValueError(
            f"{owner}(period=...) must be a positive int (steps between reallocations), (epoch, period) pairs such as "
            f"[(0, 100), (25, 200)], or a function of the epoch. Received: period={period!r}"
        )
    return schedules.piecewise(checked_pairs(pairs, owner, "period"))


def _is_period(value) -> bool:
    return is_whole(value) and value > 0
