"""When to reallocate: callbacks for `model.fit`."""

import warnings
from collections.abc import Callable, Sequence
from typing import cast

import keras

from keras_dsr import schedules
from keras_dsr.arguments import check_flag, check_whole, checked_pairs, is_function, is_whole
from keras_dsr.backend.keras_callback_list import log_before_others
from keras_dsr.callbacks.logged import densities, sparsity_of
from keras_dsr.methods import DSR, Static
from keras_dsr.weights.loadable import warn_of_files_that_do_not_load
from keras_dsr.weights.methods_by_layer import checked_methods
from keras_dsr.weights.reallocator import Reallocator
from keras_dsr.weights.sparse_weights import sparse_weights

Period = int | Sequence[tuple[int, int]] | Callable[[int], int]


class Reallocate(keras.callbacks.Callback):
    """Runs a method on the model's sparse weights every `period` optimizer steps.

    A batch without a reallocation costs two integer operations on the host: no variable and no device is touched. List
    this callback before those that save the model during an epoch (`BackupAndRestore`, `ModelCheckpoint`).

    Each epoch's logs, which `CSVLogger`, `TensorBoard` and other callbacks read wherever they are listed, get
    `sparsity` (the fraction of weights that are zero, over all sparse tensors), `dsr_reallocations` (how many there
    were in this epoch) and, where the method has them, `dsr_threshold` (H after the last reallocation) and `dsr_pruned`
    (units pruned and regrown in this epoch).

    Args:
        method: a method, such as `keras_dsr.methods.DSR(target=600)`; or a mapping from selectors of layers (as in
            `sparsify(include=)`) to methods: each moves the weights that its selector names, with a budget of their
            own, and what no selector names stays.
        period: int, steps between reallocations; or `(epoch, period)` pairs, each in force from that epoch on, such as
            `[(0, 100), (25, 200)]`; or a function of the epoch. None: 1 for a method that acts at every step
            (`DeepR`), else 100.
        stop_at: int, the epoch (counted from 0, as in `fit`) from which on there are none; None: never.
        seed: int, of the method's random numbers, which depend on (seed, tensor, step) alone.
        warm_up: bool. Adam and its kin divide a step by how large the gradients of a weight were. Of a weight that has
            just been grown they know nothing, and for some hundred steps it moves up to six times as far as others
            (named in SMET, arXiv 2606.00888). True: they begin with what they know of the active weights of its tensor
            on average, so that its first steps are smaller than theirs, and then alike.
        log_layers: bool, whether the logs get `density/<name of the weight>` too, the fraction of the positions of each
            sparse weight that are active; `keras_dsr.report(history=...)` draws them.

    Raises:
        ValueError: at once for a bad `period` or `stop_at`; when training begins, before the first step, for a model
            without sparse layers or with layers of different patterns, and for one compiled with
            `steps_per_execution` above 1 if the method acts at every step.

    Example:

    >>> model.fit(x, y, epochs=30, callbacks=[keras_dsr.Reallocate(keras_dsr.methods.DSR(target=600), period=100)])
    """

    def __init__(
        self,
        method,
        period: Period | None = None,
        stop_at: int | None = None,
        seed: int = 0,
        warm_up: bool = False,
        log_layers: bool = False,
    ):
        super().__init__()
        owner = type(self).__name__
        self._methods = [each for _, each in checked_methods(method, owner)]
        every_step = any(each.every_step for each in self._methods)
        if stop_at is not None and (not is_whole(stop_at) or stop_at < 0):
            raise ValueError(
                f"{owner}(stop_at=...) must be an epoch, an int of at least 0, or None. Received: stop_at={stop_at!r}"
            )
        self.method = method
        self.stop_at = stop_at
        self.seed = check_whole(seed, None, owner, "seed")
        self.log_layers = check_flag(log_layers, owner, "log_layers")
        if every_step and period is not None and not (is_whole(period) and period == 1):
            raise ValueError(
                f"{owner}(period=...): {self._walking} acts after every step of the optimizer: pass period=1, "
                f"or leave it out. Received: period={period!r}"
            )
        self._period_at = _period_schedule(period if period is not None else 1 if every_step else 100, owner)
        self._warm_up = check_flag(warm_up, owner, "warm_up")
        self._reallocator = None
        self._has_warned = False

    @property
    def _walking(self) -> str:
        """The name of a method that acts at every step."""
        return next(type(each).__name__ for each in self._methods if each.every_step)

    def on_train_begin(self, logs=None):
        if any(each.every_step for each in self._methods) and self.model.steps_per_execution != 1:
            raise ValueError(
                f"{self._walking} acts after every step of the optimizer, and a callback is called once "
                "in `steps_per_execution` steps: compile the model with steps_per_execution=1. "
                f"Received: steps_per_execution={self.model.steps_per_execution!r}"
            )
        if self._reallocator is None or self._reallocator.model is not self.model:
            self._reallocator = Reallocator(self.model, self.method, seed=self.seed, warm_up=self._warm_up)
        else:
            self._reallocator.begin()
        warn_of_files_that_do_not_load(self.model)
        self._in_training, self._batches_in_training = [], 0
        self._logs_before_others = log_before_others(self, self._end_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self._stopped = self.stop_at is not None and epoch >= self.stop_at
        period = self._period_at(epoch)
        if not _is_period(period):
            raise ValueError(f"period(epoch) must be a positive int. Received: period({epoch}) = {period!r}")
        self._reallocator.period = period
        self._reallocator.synchronize()  # before the first epoch began, a restored checkpoint was not yet in place
        self._batch = -1
        self._outcomes = []

    def on_train_batch_end(self, batch, logs=None):
        batches, self._batch = batch - self._batch, batch
        self._batches_in_training += batches
        self._outcomes += self._reallocator.advance(batches, acts=not self._stopped)

    def on_epoch_end(self, epoch, logs=None):
        if not self._logs_before_others:
            self._end_epoch(epoch, logs)

    def _end_epoch(self, epoch, logs):
        model = self.model  # on JAX this brings its variables up to date
        self._reallocator.check_moving()
        self._reallocator.settle()
        self._in_training += self._outcomes
        if logs is None:
            return
        weights = sparse_weights(model)
        logs["sparsity"] = sparsity_of(weights)
        logs["dsr_reallocations"] = len(self._outcomes)
        for index, part in enumerate(self._reallocator.reallocations):
            suffix = f"_{index + 1}" if index else ""
            if "threshold" in part.initial_state:
                logs[f"dsr_threshold{suffix}"] = part.threshold()
            if "pruned" in part.initial_state:
                done = [outcome for outcome in self._outcomes if outcome.weights is part.weights]
                logs[f"dsr_pruned{suffix}"] = sum(int(outcome.state["pruned"]) for outcome in done)
        if self.log_layers:
            logs.update(densities(weights))

    def on_train_end(self, logs=None):
        self._reallocator.end()
        self._warn_of_nothing()

    def _warn_of_nothing(self) -> None:
        """Say so, once, if nothing moved in a training of which that could be expected."""
        has_moved = any(outcome.state.get("pruned", 1) for outcome in self._in_training)
        is_meant = (
            all(isinstance(each, Static) for each in self._methods) or self._stopped or not self._batches_in_training
        )
        if has_moved or is_meant or self._has_warned:
            return
        self._has_warned = True
        if not self._in_training:
            what = f"there was no reallocation: its period is {self._reallocator.period:,} steps"
            remedy = "Pass a shorter period"
        else:
            what = f"{len(self._in_training):,} reallocations pruned no weight"
            part = self._reallocator.reallocations[0]
            has_threshold = "threshold" in part.initial_state
            what += f", as none was below the threshold H, at last {part.threshold():.3g}" if has_threshold else ""
            remedy = "Pass initial_threshold='auto'" if has_threshold else "Look at the steps of its schedule"
        warnings.warn(
            f"{type(self).__name__} moved no weight in {self._batches_in_training:,} batches of training: {what}. "
            f"{remedy}, or train longer.",
            stacklevel=2,
        )

    def __getstate__(self) -> dict:
        """For copies: what belongs to a model and its training stays with the original."""
        state = {name: value for name, value in vars(self).items() if name not in ("_in_training", "_outcomes")}
        return {**state, "_model": None, "_reallocator": None}


class DSRCallback(Reallocate):
    """Dynamic sparse reparameterization: `Reallocate` with `methods.DSR` (Mostafa & Wang, ICML 2019).

    Args:
        target: how many weights to move in a reallocation: an int is a number of weights (of slices or blocks
            by their pattern), a float in (0, 1) a fraction of the active ones.
        period: steps between reallocations, or a schedule (see `Reallocate`).
        initial_threshold: float, the threshold H before the first reallocation; or `"auto"` (see `methods.DSR`).
        tolerance: float in [0, 1), H stays while the number pruned is within `(1 ± tolerance) * target`.
        stop_at: int, the epoch from which on there are no reallocations; None: never.
        seed: int.
        warm_up: bool (see `Reallocate`).
        log_layers: bool, whether the density of each sparse weight is logged too (see `Reallocate`).

    Raises:
        ValueError: for each argument out of range, at once; for an unfit model when training begins.

    Example:

    >>> model.fit(x, y, epochs=30, callbacks=[keras_dsr.DSRCallback(target=600, period=100)])
    """

    def __init__(
        self,
        target: int | float = 0.1,
        period: Period = 100,
        initial_threshold: float | str = "auto",
        tolerance: float = 0.1,
        stop_at: int | None = None,
        seed: int = 0,
        warm_up: bool = False,
        log_layers: bool = False,
    ):
        method = DSR(target=target, initial_threshold=initial_threshold, tolerance=tolerance, growth="zeros")
        super().__init__(method, period, stop_at, seed, warm_up, log_layers)


def _period_schedule(period: Period, owner: str) -> Callable[[int], int]:
    if is_function(period):
        return period
    if _is_period(period):
        steps = cast(int, period)
        return lambda epoch: steps
    pairs = period if isinstance(period, Sequence) and not isinstance(period, str) else ()
    if not pairs or not all(isinstance(pair, Sequence) and len(pair) and _is_period(pair[-1]) for pair in pairs):
        raise ValueError(
            f"{owner}(period=...) must be a positive int (steps between reallocations), (epoch, period) pairs such as "
            f"[(0, 100), (25, 200)], or a function of the epoch. Received: period={period!r}"
        )
    return cast(Callable[[int], int], schedules.piecewise(checked_pairs(pairs, owner, "period")))


def _is_period(value) -> bool:
    return is_whole(value) and value > 0
