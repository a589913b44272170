"""An optimizer around another, which it leaves all that concerns the update."""

from collections.abc import Sequence

import keras


def _of_inner(name: str) -> property:
    """An attribute that is read from, and set on, the wrapped optimizer."""

    def write(self, value):
        if "inner_optimizer" in vars(self):  # not yet, when the base class sets its own
            setattr(self.inner_optimizer, name, value)

    return property(lambda self: getattr(self.inner_optimizer, name), write)


class WrappingOptimizer(keras.optimizers.Optimizer):
    """What the wrappers of this package have in common: reading or setting anything reaches the wrapped optimizer.

    Args:
        inner_optimizer: the Keras optimizer that is wrapped.
        name: string or None.

    Raises:
        ValueError: `settings`, arguments that belong to the wrapped optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer, name: str | None = None, **settings):
        _check_settings(type(self).__name__, settings, inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer

    @property
    def variables(self):
        return self._variables + self.inner_optimizer.variables

    @property
    def _built_for(self) -> list[keras.Variable]:
        """The variables that it was built for."""
        return self._trainable_variables

    def _mark_built(self, variables: Sequence[keras.Variable]) -> None:
        """What `build` of the base class keeps, and nothing else: that it is built for these variables."""
        # In place: the tracker would adopt a list that is assigned.
        self._trainable_variables.extend(variables)
        self._trainable_variables_indices.update({self._var_key(v): index for index, v in enumerate(variables)})
        self.built = True

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    weight_decay = _of_inner("weight_decay")
    clipnorm = _of_inner("clipnorm")
    clipvalue = _of_inner("clipvalue")
    global_clipnorm = _of_inner("global_clipnorm")
    use_ema = _of_inner("use_ema")
    ema_momentum = _of_inner("ema_momentum")
    ema_overwrite_frequency = _of_inner("ema_overwrite_frequency")
    loss_scale_factor = _of_inner("loss_scale_factor")
    gradient_accumulation_steps = _of_inner("gradient_accumulation_steps")
    optimizers = _of_inner("optimizers")  # callbacks look for it, to know a MultiOptimizer
    _model_variables_moving_average = _of_inner("_model_variables_moving_average")  # keras.callbacks.SwapEMAWeights

    def scale_loss(self, loss):
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)


def _check_settings(owner: str, settings: dict, inner_optimizer):
    if settings:
        inner = type(inner_optimizer).__name__
        raise ValueError(
            f"{owner} does not take {', '.join(f'`{name}`' for name in settings)}: what concerns the update is "
            f"set on the optimizer that it wraps. Received: {settings}. Use "
            f"{owner}(keras.optimizers.{inner}({next(iter(settings))}=...))."
        )
