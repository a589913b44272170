"""An optimizer around any other that keeps chosen variables of a model sparse: no layer changes."""

import random
from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_seed, check_state
from keras_dsr.backend.distribution import layout_beside, replicas, strategy_of
from keras_dsr.backend.keras_owners import layers_alive
from keras_dsr.backend.keras_slots import (
    clear_dead_places,
    innermost_optimizers,
    is_elementwise,
    optimizer_slots,
)
from keras_dsr.backend.keras_wrapping_optimizer import WrappingOptimizer
from keras_dsr.backend.tracing import is_eager, outside_traces
from keras_dsr.layers.record import Record
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.initial_masks import check_mask, check_sparsity, magnitude_mask, random_mask
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import Pattern, check_fits, check_pattern
from keras_dsr.ops.sparsity_distributions import check_distribution, numbers_of_units
from keras_dsr.ops.units import Units
from keras_dsr.optimizers.checks import (
    check_built,
    check_dense,
    check_initialized,
    check_new_state,
    check_wrapping,
    checked_decay,
    checked_inner,
)
from keras_dsr.optimizers.followed_weights import FollowsWeights
from keras_dsr.optimizers.saved_with_masks import RESERVED, SavedWithMasks
from keras_dsr.optimizers.sparse_variable import SparseVariable
from keras_dsr.optimizers.variables_beside import add_like, add_record
from keras_dsr.selectors.candidates import candidates_among
from keras_dsr.selectors.language import Selector
from keras_dsr.selectors.selection import Selection, selection_from_config


@keras.saving.register_keras_serializable("keras_dsr")
class SparseOptimizer(FollowsWeights, SavedWithMasks, WrappingOptimizer):
    """Keeps chosen variables of any model sparse while another optimizer trains it: exactly, from the first step on.

    A number of weights of each chosen variable is active, the others are 0. When the optimizer is built (`fit` does
    so) the pruned weights are set to 0; after every update they, and what the wrapped optimizer holds for them, are as
    they began. Which ones are active changes only if a method says so.

    It goes inside a `LossScaleOptimizer`, where `compile` puts it under the `mixed_float16` policy. `Adafactor` gives
    NaN where a whole row and a whole column have no gradient, unless its `epsilon_1` is at least 1e-20.

    Args:
        inner_optimizer: a Keras optimizer, or its name, such as `"adam"`. Clipping, weight decay, averaging, gradient
            accumulation and loss scaling are set there.
        sparsity: float in [0, 1), the fraction of the chosen weights that are 0.
        select: which trainable variables become sparse, in the terms of `keras_dsr.sparsify(include=...)`: layers,
            classes of layers, regular expressions for a layer's name or a variable's path, or functions of the variable
            that return a bool (registered with `keras.saving.register_keras_serializable` to be saved); one, or a list.
            None: what `sparsify` makes sparse by default.
        distribution: `"uniform"`, the same sparsity for each variable, or `"erk"`, sparser the larger it is.
        pattern: what is pruned and grown as a whole, as `keras_dsr.sparsify(pattern=)`.
        mask: `"random"`, or `"magnitude"`, which keeps the weights that are largest when the optimizer is built.
        seed: int, the seed of random masks. None draws one, which the config then has.
        state: dict of dtypes by name, what methods keep for each weight (see `add_state`).
        gradient_decay: float in [0, 1), or None: see `remember_gradients`.
        name: string.

    Attributes:
        sparse_variables: list of `SparseVariable`, in the order of the trainable variables; empty until it is built.

    Raises:
        ValueError: an argument out of its range; or at build: nothing selected, weights that do not exist yet.

    Example:

    >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(24, "relu"), keras.layers.Dense(10)])
    >>> model.compile(SparseOptimizer("adam", sparsity=0.9), "mse")
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer | str,
        sparsity: float = 0.9,
        select: Selector | Iterable[Selector] | None = None,
        distribution: str = "uniform",
        mask: str = "random",
        seed: int | None = None,
        state: dict[str, str] | None = None,
        gradient_decay: float | None = None,
        name: str | None = None,
        pattern: Pattern = "element",
        **settings,
    ):
        inner_optimizer = checked_inner(inner_optimizer)
        check_wrapping(inner_optimizer, SparseOptimizer)
        check_distribution(distribution, "SparseOptimizer")
        check_mask(mask, "SparseOptimizer")
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(
                f"SparseOptimizer(name=...) must be a string without '/', or None. Received: name={name!r}"
            )
        super().__init__(inner_optimizer, name, **settings)
        self.sparsity = check_sparsity(sparsity, "SparseOptimizer")
        self._selection = Selection(select, "SparseOptimizer", "select")
        self.distribution = distribution
        self.pattern = check_pattern(pattern, "SparseOptimizer")
        check_fits(self.pattern, self.sparsity, "SparseOptimizer")
        self.mask = mask
        self.seed = random.randint(1, 10**9) if seed is None else check_seed(seed, "SparseOptimizer")
        self.state = check_state(state, "SparseOptimizer", "state")
        if gradient_decay is not None:
            gradient_decay = checked_decay(gradient_decay, "SparseOptimizer", "gradient_decay")
        self.gradient_decay = gradient_decay
        self.sparse_variables = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Draw the masks, clear the weights that are pruned by them, and build the wrapped optimizer.

        Args:
            variables: the trainable variables of a model.
        """
        if self.built:
            return
        with outside_traces(), strategy_of(variables[0]):
            check_initialized(variables)
            layers = layers_alive()  # which nothing leads to from their variables
            found = candidates_among(variables, layers)
            chosen = self._selection.checked_variables(found)
            check_dense(chosen, layers)
            known = {id(one.variable): one for one in found}
            of_layers = [(known[id(variable)].layer, known[id(variable)].role) for variable in chosen]
            units = [units_of(*of, tuple(each.shape), self.pattern) for of, each in zip(of_layers, chosen)]
            masks = self._initial_masks(chosen, units)
            layout = layout_beside(chosen[0], ())
            threshold = self.add_variable((), dtype="float32", layout=layout, name="threshold")
            self._overfull = self.add_variable((), dtype="int32", layout=layout, name="overfull")
            self.inner_optimizer.build(variables)
            for variable, mask, of_it in zip(chosen, masks, units):
                slots = optimizer_slots(self.inner_optimizer, variable)
                clear_dead_places(variable, mask, slots)
                stored = add_like(self, variable, "mask", "bool", mask, aggregation="only_first_replica")
                record = add_record(self, variable, Record.begun(mask, of_it))
                self.sparse_variables.append(SparseVariable(variable, stored, threshold, record, slots, of_it))
            for name, dtype in self.state.items():
                self._add_state_variables(name, dtype)
            if self.gradient_decay is not None:
                self._add_gradient_variables()
        self._clears_slots = not all(map(_keeps_slots_clean, innermost_optimizers(self.inner_optimizer)))
        self._mark_built(variables)

    def apply(self, grads, trainable_variables=None):
        variables = self._built_for if trainable_variables is None else list(trainable_variables)
        if not self.built and variables:
            self.build(variables)
        self.follow_weights()
        self.inner_optimizer.apply(self._masked(grads, variables), trainable_variables)
        for sparse in self._trained:
            mask = ops.convert_to_tensor(sparse.mask)
            clear_dead_places(sparse.variable, mask, sparse.slots if self._clears_slots else ())
        if is_eager():
            self.check_budget()

    @property
    def _trained(self) -> list[SparseVariable]:
        """The sparse variables that are not frozen."""
        return [sparse for sparse in self.sparse_variables if sparse.variable.trainable]

    @property
    def select(self) -> Selector | Iterable[Selector] | None:
        """Which trainable variables become sparse, as it was given."""
        return self._selection.given

    def would_hold(self, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        """The variables that it keeps sparse, or, if it has not been built, would of these trainable ones."""
        if self.built:
            return [sparse.variable for sparse in self.sparse_variables]
        return self._selection.variables(candidates_among(variables, layers_alive()))

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        self.check_budget()

    def add_state(self, name: str, dtype: str) -> None:
        """Add a variable of zeros of its shape for every sparse variable, as `sparse_variable.state[name]`.

        The config announces it, so that an optimizer that is loaded has it too. A training step that was traced before
        does not know it: make it again.

        Args:
            name: string, not the name of another state.
            dtype: string, such as `"int8"`.

        Raises:
            ValueError: the optimizer has something of that name, or has not been built.
        """
        check_built(self, "add_state")
        check_new_state(name, dtype, (*self.state, *RESERVED))
        self._add_state_variables(name, dtype)
        self.state[name] = dtype

    def remember_gradients(self, decay: float) -> None:
        """Keep a running mean of the dense gradient of every sparse variable, as `sparse_variable.gradient`.

        From then on every `apply` writes `gradient = decay * gradient + (1 - decay) * g`, where g is the gradient of
        the loss at all positions, the pruned ones too. Under gradient accumulation g is that of one batch, and so the
        last one's if `decay` is 0. The config announces it. A training step that was traced before does not know of it,
        or of a changed decay: make it again.

        Args:
            decay: float in [0, 1).

        Raises:
            ValueError: a decay out of its range, or the optimizer has not been built.
        """
        check_built(self, "remember_gradients")
        self.gradient_decay = checked_decay(decay, "SparseOptimizer.remember_gradients", "decay")
        if self.sparse_variables[0].gradient is None:
            self._add_gradient_variables()

    def get_config(self):
        config = {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "sparsity": self.sparsity,
            "select": self._selection.config(),
            "distribution": self.distribution,
            "mask": self.mask,
            "seed": self.seed,
            "pattern": self.pattern,
        }
        if self.state:
            config["state"] = dict(self.state)
        if self.gradient_decay is not None:
            config["gradient_decay"] = self.gradient_decay
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if "select" in config:
            config["select"] = selection_from_config(config["select"], custom_objects)
        inner = config["inner_optimizer"]
        if isinstance(inner, dict):
            config["inner_optimizer"] = keras.saving.deserialize_keras_object(inner, custom_objects=custom_objects)
        return cls(**config)

    def _initial_masks(self, chosen: list[keras.Variable], units: list[Units]) -> list[np.ndarray]:
        shapes = [tuple(variable.shape) for variable in chosen]
        numbers = numbers_of_units(self.distribution, self.sparsity, shapes, units, "SparseOptimizer")
        masks = []
        for index, count in enumerate(numbers):
            if self.mask == "magnitude":
                masks.append(magnitude_mask(ops.convert_to_numpy(chosen[index]), count, units[index]))
            else:
                masks.append(random_mask(shapes[index], count, units[index], [self.seed, index]))
        return masks

    def _begin(self) -> None:
        """Draw the masks of an optimizer that is built, for weights that have been set since, and clear them."""
        parts = [(sparse.variable, sparse.units) for sparse in self.sparse_variables]
        for sparse, mask in zip(self.sparse_variables, self._initial_masks(*map(list, zip(*parts)))):
            sparse.mask.assign(mask)
            sparse.record.assign(Record.begun(mask, sparse.units).array())
            clear_dead_places(sparse.variable, mask, sparse.slots)

    def _masked(self, gradients, variables) -> list:
        """The gradients as the wrapped optimizer sees them: 0 where pruned. Remembers the dense ones if it is to."""
        sparse_variables = {id(sparse.variable): sparse for sparse in self.sparse_variables}
        masked = []
        for gradient, variable in zip(gradients, variables, strict=True):
            sparse = sparse_variables.get(id(variable))
            if sparse is not None and gradient is not None:
                gradient = ops.convert_to_tensor(gradient)  # those of an embedding may come as slices
                self._remember(sparse, gradient)
                gradient = mask_weights(gradient, ops.convert_to_tensor(sparse.mask))
            masked.append(gradient)
        return masked

    def _remember(self, sparse: SparseVariable, gradient):
        if sparse.gradient is not None:
            gradient = ops.multiply(ops.cast(gradient, "float32"), replicas())
            if self.gradient_decay:
                gradient = self.gradient_decay * sparse.gradient + ops.multiply(gradient, 1 - self.gradient_decay)
            sparse.gradient.assign(gradient)

    def _add_state_variables(self, name: str, dtype: str):
        for sparse in self.sparse_variables:
            sparse.state[name] = add_like(self, sparse.variable, name, dtype)

    def _add_gradient_variables(self):
        for sparse in self.sparse_variables:  # the mean over the replicas of a `tf.distribute.Strategy`
            sparse.gradient = add_like(self, sparse.variable, "gradient", "float32", aggregation="mean")


def _keeps_slots_clean(optimizer) -> bool:
    """Whether zero gradients leave slots at pruned positions as they began: not an average of dense weights."""
    return is_elementwise(optimizer) and not optimizer.use_ema
