"""Dense-sparse-dense training as a callback for `model.fit`."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import keras

from keras_dsr.arguments import check_flag, check_verbose, is_function, is_list, is_number, is_whole
from keras_dsr.backend.keras_callback_list import log_before_others
from keras_dsr.backend.keras_slots import activity
from keras_dsr.backend.keras_training import renew_compiled_functions
from keras_dsr.callbacks.dsd_phases import Phase, dense_sparse_dense, phase_at, phase_lengths
from keras_dsr.callbacks.learning_rate_scale import LearningRateScale
from keras_dsr.callbacks.logged import densities, sparsity_of
from keras_dsr.conversion.convert import densify
from keras_dsr.conversion.sparsify import sparsify
from keras_dsr.layers.record import Record
from keras_dsr.methods.dsd import DSD, Sparsity
from keras_dsr.methods.identity import digest
from keras_dsr.ops.initial_masks import check_mask
from keras_dsr.ops.sparsity_distributions import check_sparsities
from keras_dsr.selectors.candidates import Candidate, candidates
from keras_dsr.selectors.language import Selector, checked_selectors, choose
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.movable import movable_weights
from keras_dsr.weights.reallocation import Reallocation
from keras_dsr.weights.sparse_weight import SparseWeight
from keras_dsr.weights.sparse_weights import sparse_weights
from keras_dsr.weights.step_counter import StepCounter

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
SparsityOfModel = Sparsity | Callable[[keras.Model], Sparsity]


class DSDCallback(keras.callbacks.Callback):
    """Dense-sparse-dense training (DSD): a regularizer that ends with a dense network of the same shape.

    Three phases (Han et al., ICLR 2017, arXiv 1607.04381, Algorithm 1). Dense: as without it. Sparse: when it begins,
    the smallest weights of each layer are cut, once, and training goes on without them. Dense: the cut weights are back
    with the value 0, and everything trains at a lower learning rate. More rounds repeat the last two. Dropout, weight
    decay and the learning rate schedule stay the user's; the schedule is multiplied by a factor.

    Layers of Keras become sparse-capable when training begins (as by `sparsify`), and stock layers again when it ends
    in the last dense phase: what is left is the plain model. Where training ends earlier they stay as they are, and
    another `fit` (with `initial_epoch`, for phases by epoch) goes on. The phase depends on the epoch or the optimizer's
    step alone and the masks are saved with the model, so a restart goes on where it was. List this callback before
    those that save or restore the model, but after `EarlyStopping(restore_best_weights=True)`.

    Each epoch's logs, for callbacks listed before it too, get `dsd_phase` (0 dense, 1 sparse, 2 dense, ...),
    `dsd_learning_rate` (that of the step with which the epoch, or a phase within it, began) and `sparsity` (the
    fraction of weights that are zero, over all that may be cut). Between epochs the optimizer holds the user's own
    learning rate.

    Args:
        sparsity: float in [0, 1), the fraction of each weight tensor that is cut; or a mapping from names of weights to
            such numbers (others are not cut), as `keras_dsr.sensitivity(...).choose(...)` returns; or a function of the
            model that returns either when its sparse phase begins; or a list of these, one a round.
        dense_epochs: int, length of the first dense phase (short: early pruning); or a list, that of the dense phase
            before each sparse one.
        sparse_epochs: int, length of each sparse phase, or a list, one a round. The last dense phase takes the rest.
        dense_steps, sparse_steps: the same in steps of the optimizer instead of epochs, counted from the first with
            this callback on this model: that is saved with the masks, so that a model that is loaded goes on.
        final_learning_rate_factor: positive number, on the learning rate each time that cut weights are restored, for
            all that follows.
        sparse_learning_rate_factor: positive number, on the learning rate in sparse phases as well.
        cut: `"magnitude"`; or `"random"`, the paper's ablation.
        include: what may be cut beside what `sparsify` makes sparse by default, in its terms.
        exclude: what is never cut, in the same terms.
        cut_first_convolution: whether the first convolution may be cut too; in the paper it never is.
        seed: int, of random cuts.
        verbose: 1 prints a line when a phase begins, 0 is silent.
        log_layers: bool, whether the density of each weight that may be cut is logged too (see `Reallocate`).

    Raises:
        ValueError: at once for an argument out of range; when training begins, before the first step, for a model with
            nothing to cut, or a name that it does not have.

    Example:

    >>> model.fit(x, y, epochs=60, callbacks=[keras_dsr.DSDCallback(sparsity=0.3, dense_epochs=30, sparse_epochs=15)])
    """

    def __init__(
        self,
        sparsity: SparsityOfModel | Sequence[SparsityOfModel] = 0.3,
        dense_epochs: int | Sequence[int] | None = None,
        sparse_epochs: int | Sequence[int] | None = None,
        *,
        dense_steps: int | Sequence[int] | None = None,
        sparse_steps: int | Sequence[int] | None = None,
        final_learning_rate_factor: float = 0.1,
        sparse_learning_rate_factor: float = 1.0,
        cut: str = "magnitude",
        include: Selector | Iterable[Selector] = (),
        exclude: Selector | Iterable[Selector] = (),
        cut_first_convolution: bool = False,
        seed: int = 0,
        verbose: int = 1,
        log_layers: bool = False,
    ):
        super().__init__()
        self._sparsities = list(sparsity) if is_list(sparsity) else [sparsity]
        if not self._sparsities:
            raise ValueError(
                f"DSDCallback(sparsity=...), as a list, must have one sparsity a round. Received: sparsity={sparsity!r}"
            )
        for one in self._sparsities:
            check_sparsities(0.0 if is_function(one) else cast(Sparsity, one), "DSDCallback")
        check_mask(cut, "DSDCallback", argument="cut")
        factors = {
            "final_learning_rate_factor": final_learning_rate_factor,
            "sparse_learning_rate_factor": sparse_learning_rate_factor,
        }
        for name, factor in factors.items():
            if not is_number(factor) or factor <= 0:
                raise ValueError(
                    f"DSDCallback({name}=...) must be a positive number, a factor on the learning rate. "
                    f"Received: {name}={factor!r}"
                )
        if not is_whole(seed):
            raise ValueError(f"DSDCallback(seed=...) must be an int. Received: seed={seed!r}")
        self._unit, lengths = phase_lengths(
            len(self._sparsities), dense_epochs, sparse_epochs, dense_steps, sparse_steps
        )
        self._phases = dense_sparse_dense(*lengths, sparse_learning_rate_factor, final_learning_rate_factor)
        self._cut = cut
        self._include = checked_selectors(include, "DSDCallback", "include")
        self._exclude = checked_selectors(exclude, "DSDCallback", "exclude")
        self._cut_first_convolution = check_flag(cut_first_convolution, "DSDCallback", "cut_first_convolution")
        self._seed, self._verbose = int(seed), check_verbose(verbose, "DSDCallback")
        self._log_layers = check_flag(log_layers, "DSDCallback", "log_layers")
        self._identity = digest(("DSDCallback", self._unit, self._phases, self._sparsities, cut))
        self._converted = False
        self._finished = None, None  # the model in which it has come to its end, and since when it counted steps there

    def __getstate__(self):
        """What was asked for, without what belongs to a model or a run: a copy, or a pickle, can begin with another."""
        asked = (
            "sparsities",
            "unit",
            "phases",
            "cut",
            "include",
            "exclude",
            "cut_first_convolution",
            "seed",
            "verbose",
            "log_layers",
            "identity",
        )
        settings = {f"_{name}": getattr(self, f"_{name}") for name in asked}
        return {**settings, "_converted": False, "_finished": (None, None), "_model": None, "params": None}

    def on_train_begin(self, logs=None):
        self._excluded = self._find_excluded()
        self._check_names(*self._sparsities)
        if not sparse_weights(self.model):
            self._make_sparse_capable()
        self._phase, self._scale_is_due = None, False
        self._steps = StepCounter(self.model.optimizer)
        self._scale = LearningRateScale(self.model)
        self._reallocation = Reallocation(self.model, DSD(0.0), self._seed, identity=self._identity)
        self._logs_before_others = log_before_others(self, self._end_epoch)

    def on_train_end(self, logs=None):
        self._scale.undo()
        is_dense = all(weight.count() == weight.size for weight in sparse_weights(self.model))
        if self._converted and is_dense and self._phase is self._phases[-1]:
            densify(self.model)
            self._converted = False
            self._finished = weakref.ref(self.model), self._reallocation.since

    def on_epoch_begin(self, epoch, logs=None):
        # The step is asked for here: before the first epoch begins, a restored checkpoint is not yet in place.
        step = self._steps.synchronize()
        model, since = self._finished
        is_over = model is not None and model() is self._model
        self._reallocation.start(step, Record(0, 0, self._identity, since) if is_over else None)
        self._move_to(epoch if self._unit == "epochs" else step - self._reallocation.since)
        self._batch = -1
        self._activity = activity(self.model.optimizer)
        self._scale_is_due = True

    def on_train_batch_begin(self, batch, logs=None):
        if self._scale_is_due:  # after every callback has had its say when the epoch began
            self._scale.scale_variables(self._phase.learning_rate_factor)
            self._scale_is_due = False
            self._rate = float(keras.ops.convert_to_numpy(_learning_rate(self.model.optimizer)))

    def on_train_batch_end(self, batch, logs=None):
        batches, self._batch = batch - self._batch, batch
        if self._unit == "epochs" or self._phase is self._phases[-1]:
            return
        since = self._reallocation.since
        _, step = self._steps.advance(batches)
        if step - since >= self._phases[self._phase.number + 1].start:
            self._move_to(self._steps_taken() - since)
            self._scale_is_due = True

    def on_epoch_end(self, epoch, logs=None):
        if not self._logs_before_others:
            self._end_epoch(epoch, logs)
        self._scale.release()

    def _end_epoch(self, epoch, logs):
        self._check_stepping()
        if logs is not None:
            weights = sparse_weights(self.model)
            logs["dsd_phase"] = self._phase.number
            logs["dsd_learning_rate"] = self._rate
            logs["sparsity"] = sparsity_of(weights)
            if self._log_layers:
                logs.update(densities(weights))

    def _check_stepping(self) -> None:
        """Raise `RuntimeError` if phases are counted by the steps of an optimizer that takes none."""
        if self._unit == "steps" and self._batch >= 0 and activity(self.model.optimizer) == self._activity:
            raise RuntimeError(
                f"DSDCallback(dense_steps=..., sparse_steps=...) counts the steps of {self.model.optimizer.name!r}, "
                f"the optimizer that {self.model.name!r} is compiled with, and it took none in this epoch. Received: a "
                "model whose `train_step` uses another one. Count in epochs: dense_epochs=..., sparse_epochs=..."
            )

    def _steps_taken(self) -> int:
        """The steps that the optimizer has taken: on JAX `self.model` first brings its variables up to date."""
        return self._steps.ask() if self.model.optimizer is not None else 0

    def _move_to(self, time: int) -> None:
        """Begin the phase of this time, unless it has begun."""
        phase = phase_at(self._phases, time)
        if phase is self._phase:
            return
        self._phase = phase
        self._set_masks(phase)
        if self._scale.scale_schedules(phase.learning_rate_factor):
            renew_compiled_functions([self.model])
        if self._verbose:
            print(f"\n{self._describe(time)}")

    def _set_masks(self, phase: Phase) -> None:
        weights = movable_weights(self.model)
        sparsity: Any = self._sparsities[phase.round] if phase.is_sparse else 0.0
        if callable(sparsity):
            if any(weight.count() < weight.size for weight in weights):
                return  # a restart within the phase: it has been cut
            sparsity = sparsity(self.model)
            self._check_names(sparsity)
        shares = {weight.name: self._share(sparsity, weight) for weight in weights}
        if any(weight.active_units() != weight.units_at(shares[weight.name]) for weight in weights):
            Reallocation(self.model, DSD(shares, self._cut), self._seed, identity=self._identity)()

    def _share(self, sparsity: Sparsity, weight: SparseWeight | CompactWeight) -> float:
        if weight.name in self._excluded:
            return 0.0
        return sparsity.get(weight.name, 0.0) if isinstance(sparsity, Mapping) else sparsity

    def _find_excluded(self) -> set[str]:
        """The names of the weights that are never cut."""
        found = candidates(self.model)
        _, left_out = choose(found, self._include, self._exclude, "DSDCallback")
        excluded = {one.name for one, reason in left_out if reason == "excluded"}
        if self._cut_first_convolution:
            return excluded
        first = next((one.layer for one in found if isinstance(one.layer, CONVOLUTIONS)), None)
        return excluded | {one.name for one in found if one.layer is first}

    def _make_sparse_capable(self) -> None:
        report = sparsify(self.model, 0.0, include=self._include, exclude=self._excluded, mask="magnitude")
        if not report.rows:
            raise ValueError(
                f"DSDCallback has nothing to cut in {self.model.name!r}. Expected a dense, convolutional, recurrent or "
                "attention layer beside the first convolution, which is never cut without cut_first_convolution=True. "
                f"Received:\n{report}"
            )
        self._converted = True

    def _check_names(self, *sparsities: Sparsity) -> None:
        """Raise `ValueError` for a name of a mapping that no weight of the model has."""
        found = candidates(self.model)
        names = {one.name for one in found}
        for sparsity in sparsities:
            unknown = [name for name in sparsity if name not in names] if isinstance(sparsity, Mapping) else []
            if unknown:
                raise ValueError(
                    f"DSDCallback(sparsity=...) names {unknown[0]!r}, and the model {self.model.name!r} has no such "
                    f"weight. Expected names such as {', '.join(map(repr, _examples(found)))}. "
                    f"Received: {len(unknown)} unknown of {len(cast(Mapping, sparsity))}."
                )

    def _describe(self, time: int) -> str:
        kind = "sparse" if self._phase.is_sparse else "dense"
        weights = sparse_weights(self.model)
        cut = sum(weight.size - weight.count() for weight in weights)
        where = f"epoch {time + 1}" if self._unit == "epochs" else f"step {time}"
        return (
            f"DSD, {where}: {kind} phase ({self._phase.number + 1} of {len(self._phases)}), {cut:,} of "
            f"{sum(weight.size for weight in weights):,} weights cut, learning rate x "
            f"{self._phase.learning_rate_factor:g}"
        )


def _learning_rate(optimizer):
    first = optimizer.optimizers[0] if hasattr(optimizer, "optimizers") else optimizer
    return first.learning_rate


def _examples(found: list[Candidate]) -> list[str]:
    return [one.name for one in found if one.role != "bias"][:3]
