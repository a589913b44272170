"""When to reallocate: counts the steps of whoever trains the sparse weights of a model, in any loop."""

from collections.abc import Callable

import keras

from keras_dsr.arguments import check_flag, check_whole
from keras_dsr.backend.keras_owners import holds, optimizers_alive
from keras_dsr.backend.keras_slots import activity, steps_taken
from keras_dsr.layers.record import Record
from keras_dsr.weights.methods_by_layer import checked_methods, parted
from keras_dsr.weights.movable import movable_weights
from keras_dsr.weights.reallocation import Outcome, Reallocation
from keras_dsr.weights.sparse_weights import check_has_weights, sparse_weights
from keras_dsr.weights.step_counter import StepCounter
from keras_dsr.weights.writing import finish


class Reallocator:
    """Moves the sparse weights of a model by a method while it trains, in any training loop.

    Call `step()` after each step of the optimizer; every `period` of them it reallocates. The model need not be
    compiled. Weights that different optimizers train (those of a GAN's two networks) are moved apart: each by the steps
    of its optimizer, with a budget and a threshold of its own. Which optimizer trains a weight is seen by its steps.

    Steps are counted from the first of this method on this model, which is saved with the layers: a loaded model goes
    on where it was, and another method begins at 0.

    Args:
        model: a Keras model whose weights exist, some of them sparse and not frozen.
        method: a method, such as `keras_dsr.methods.DSR(target=600)`; or a mapping from selectors of layers (as in
            `sparsify(include=)`) to methods: each moves the weights that its selector names, with a budget of their
            own, and what no selector names stays.
        period: int, steps of the optimizer between reallocations.
        optimizer: the Keras optimizer that trains the sparse weights. None: whichever does.
        seed: int, of the method's random numbers.
        warm_up: bool, as that of `Reallocate`.

    Attributes:
        reallocations: list of `Reallocation`, one for each optimizer that trains sparse weights.

    Raises:
        ValueError: an argument out of range, an unbuilt model, no sparse weight that may move, layers of different
            pattern, masks that were set from outside; or what the method refuses.

    Example:

    >>> reallocator = keras_dsr.Reallocator(model, keras_dsr.methods.DSR(target=600), period=100)
    >>> for x, y in batches:
    ...     train_step(x, y)
    ...     reallocator.step()
    """

    def __init__(
        self,
        model: keras.Model,
        method,
        period: int = 100,
        optimizer: keras.optimizers.Optimizer | None = None,
        seed: int = 0,
        warm_up: bool = False,
    ):
        check_has_weights(model, "Reallocator")
        if not sparse_weights(model):
            raise ValueError(
                f"Reallocator(model=...) must have sparse weights, and {model.name!r} has no sparse layer, so there is "
                "nothing to move. Build it with sparse layers, such as `keras_dsr.SparseDense(units, sparsity=0.9)`, "
                "call `keras_dsr.sparsify(model)`, or compile it with `keras_dsr.SparseOptimizer(optimizer)`. "
                f"Received: model={model!r}"
            )
        self._methods = checked_methods(method, "Reallocator")
        check_whole(period, 1, "Reallocator", "period")
        check_whole(seed, None, "Reallocator", "seed")
        if optimizer is not None and not isinstance(optimizer, keras.optimizers.Optimizer):
            raise ValueError(
                "Reallocator(optimizer=...) must be the Keras optimizer that trains the sparse weights, or None: it is "
                f"found. Received: optimizer={optimizer!r}"
            )
        self.model = model
        self.method = method
        self.period = period
        self.seed = seed
        self._warm_up = check_flag(warm_up, "Reallocator", "warm_up")
        self.reallocations: list[Reallocation] = []
        self._given = optimizer
        self._pull: Callable[[], None] | None = None
        self.begin()

    def begin(self) -> None:
        """Begin, or go on, with the model as it is: what was frozen, set free, loaded or compiled since is taken up."""
        self._synchronize()
        weights = movable_weights(self.model)
        optimizers = [one for one in optimizers_alive() if one is self._expected or _may_train(one, weights)]
        self._before = {id(one): activity(one) for one in optimizers}
        self._steps_before = {id(one): steps_taken(one) for one in optimizers if activity(one)}
        self._records = {id(weight.variable): Record.of(weight.record) for weight in weights}
        self._others = [one for one in optimizers if one is not self._expected]
        parts = parted(self.model, weights, self._methods, "Reallocator")
        if len(self.reallocations) == len(parts) and all(
            part.is_of(of_it, self._given) for part, (_, of_it) in zip(self.reallocations, parts)
        ):
            for part in self.reallocations:
                part.begin()
        else:
            self.reallocations = [
                Reallocation(self.model, method, self.seed + index, of_it, self._given, warm_up=self._warm_up)
                for index, (method, of_it) in enumerate(parts)
            ]
        self._counters = [] if self._expected is None else [StepCounter(self._expected) for _ in parts]
        self._settled = self._given is not None
        self._batches = 0
        self._watch()

    @property
    def _expected(self) -> keras.optimizers.Optimizer | None:
        """The optimizer that trains the weights unless another one is seen to."""
        return self._given if self._given is not None else getattr(self.model, "optimizer", None)

    def step(self, batches: int = 1) -> list[Outcome]:
        """Count steps of the optimizer that have just been taken, and reallocate if that is due.

        Args:
            batches: int, how many batches were trained on since the last call. (Under gradient accumulation several
                make one step.)

        Returns:
            What was done, an `Outcome` for each reallocation; an empty list if none was due.

        Raises:
            RuntimeError: batches pass, and no Keras optimizer that holds the sparse weights takes a step.
        """
        check_whole(batches, 1, "Reallocator.step", "batches")
        outcomes = self.advance(batches)
        if self._batches >= self.period:
            self.check_moving()
        return outcomes

    def __call__(self) -> list[Outcome]:
        """Reallocate now, whatever the step; what was done, an `Outcome` for each of `reallocations`."""
        self._synchronize()
        return [part() for part in self.reallocations]

    def stateless_step(
        self, trainable_variables: list, non_trainable_variables: list, optimizer_variables: list, batches: int = 1
    ) -> tuple[list, list, list]:
        """`step` for a loop that holds the state of the model outside of it, as those of JAX do.

        Make the reallocator before the state is taken out of the model: some methods give the layers variables.

        Args:
            trainable_variables, non_trainable_variables: lists of arrays, the values of the model's variables.
            optimizer_variables: list of arrays, those of the optimizer: the one that was given, or the model's.
            batches: int, as `step`.

        Returns:
            The three lists: as they are if no reallocation was due, else new ones.
        """
        optimizer = self._expected
        if optimizer is None:
            raise ValueError(
                "Reallocator.stateless_step(optimizer_variables=...) needs to know whose they are: pass "
                "Reallocator(optimizer=...), or compile the model. Received: a model without an optimizer."
            )
        state = trainable_variables, non_trainable_variables, optimizer_variables
        variables = self.model.trainable_variables, self.model.non_trainable_variables, optimizer.variables

        def pull():
            for of_kind, values in zip(variables, state):
                for variable, value in zip(of_kind, values, strict=True):
                    variable.assign(value)

        self._pull = pull
        try:
            outcomes = self.step(batches)
        finally:
            self._pull = None
        trainable, others, of_optimizer = ([variable.value for variable in of_kind] for of_kind in variables)
        return (trainable, others, of_optimizer) if outcomes else state

    def synchronize(self) -> None:
        """Ask the optimizers for their steps, where a checkpoint may have been restored since the last call."""
        for part, counter in zip(self.reallocations, self._counters):
            part.start(counter.synchronize())
        self._watch()

    def advance(self, batches: int, acts: bool = True) -> list[Outcome]:
        """As `step`, for who calls `check_moving` at a time of its own; only counts if not `acts`."""
        self._batches += batches
        if not self._settled and (self._others or not self._counters or self._batches >= self.period):
            self._settle()
        outcomes = []
        for part, counter in zip(self.reallocations, self._counters):
            previous, now = counter.advance(batches)
            for gradients in part.gradients:
                gradients.passed(batches)
            if acts and self._is_crossed(part, previous, now):
                self._synchronize()
                if self._is_crossed(part, previous, counter.ask()):
                    outcomes.append(part())
        self._watch(acts, batches)
        return outcomes

    def _watch(self, acts: bool = True, batches: int = 1) -> None:
        """Have gradients kept if a reallocation by them may follow the next batches, of which there are so many."""
        for part, counter in zip(self.reallocations, self._counters):
            for gradients in part.gradients:
                ahead = max(batches, getattr(self.model, "steps_per_execution", None) or 1)
                is_due = counter.asks or self._is_crossed(part, counter.step, counter.step_after(ahead))
                gradients.watch(acts and is_due)

    def settle(self) -> None:
        """Have variables hold what was seen of gradients: on JAX the host does while training goes on."""
        for part in self.reallocations:
            for gradients in part.gradients:
                gradients.settle()

    def end(self) -> None:
        """Training has ended: nothing is kept for a reallocation any more."""
        for part in self.reallocations:
            for gradients in part.gradients:
                gradients.watch(False)

    def check_moving(self) -> None:
        """Raise `RuntimeError` if batches have passed and no optimizer that holds the sparse weights took a step."""
        if self._settled or not self._batches or self._settle():
            return
        expected = self._expected
        received = "no optimizer" if expected is None else f"the optimizer {expected.name!r}, which takes no steps"
        raise RuntimeError(
            f"{self._batches:,} batches have passed, and no Keras optimizer that holds the sparse weights of "
            f"{self.model.name!r} has taken a step, so nothing would ever be reallocated. Expected: the optimizer that "
            f"the model is compiled with, or another one by which its `train_step` applies gradients. Received: "
            f"{received}. Train these weights by a Keras optimizer."
        )

    def _is_crossed(self, part: Reallocation, previous: int, now: int) -> bool:
        # With steps_per_execution > 1 some steps are never seen: ask whether a multiple was crossed.
        return (now - part.since) // self.period > (previous - part.since) // self.period

    def _settle(self) -> bool:
        """See which optimizers train the weights, by the steps that they have taken since training began."""
        self._synchronize()
        weights = [weight for part in self.reallocations for weight in part.weights]
        trained = self._trained(weights, self._others) or self._trained(weights, optimizers_alive())
        if not trained:
            return False
        self._settled = True
        if [optimizer for optimizer, _ in trained] == [self._expected]:
            return True  # a weight that it does not hold is not trained; it may move
        for part in self.reallocations:
            if part.gradients:
                raise part.gradients[0].of_several_optimizers()
        self.reallocations, self._counters = [], []
        each = [
            (optimizer, *part)
            for optimizer, of_it in trained
            for part in parted(self.model, of_it, self._methods, "Reallocator")
        ]
        for index, (optimizer, method, of_it) in enumerate(each):
            part = Reallocation(self.model, method, self.seed + index, of_it, optimizer, warm_up=self._warm_up)
            before = self._steps_before.get(id(optimizer), 0)
            part.start(before, self._records[id(of_it[0].variable)])  # what was begun was by the steps of another one
            self.reallocations.append(part)
            self._counters.append(StepCounter(optimizer, taken=before, asks=optimizer is not self._expected))
        return True

    def _trained(self, weights: list, others: list) -> list[tuple[keras.optimizers.Optimizer, list]]:
        """The optimizers that have taken steps, each with the weights that it holds and none before it does."""
        trained = []
        for optimizer in (self._expected, *others):
            is_active = optimizer is not None and activity(optimizer) != self._before.get(id(optimizer), (0,))
            held = [weight for weight in weights if is_active and holds(optimizer, weight.variable)]
            if held:
                trained.append((optimizer, held))
                weights = [weight for weight in weights if weight not in held]
        return trained

    def _synchronize(self) -> None:
        """Have the variables hold the state of the model: on JAX it is outside of them while `fit` runs."""
        if self._pull is not None:
            self._pull()
        elif hasattr(self.model, "jax_state_sync"):
            finish(self.model.jax_state_sync, "The model could not be brought up to date: some weights have no values.")


def _may_train(optimizer: keras.optimizers.Optimizer, weights: list) -> bool:
    """Whether an optimizer holds one of the weights, or has not been told yet what it holds."""
    return not optimizer.built or any(holds(optimizer, weight.variable) for weight in weights)
