"""What a `SparseOptimizer` refuses."""

from collections.abc import Iterable, Mapping, Sequence

import keras

from keras_dsr.arguments import check_state_variable, is_number
from keras_dsr.layers import CompactLayer, MaskedLayer


def check_initialized(variables: Sequence[keras.Variable]) -> None:
    """Raise `ValueError` if a variable has no value yet."""
    if keras.backend.backend() != "tensorflow":
        return
    waiting = [variable.path for variable in variables if not variable.value.is_initialized()]
    if waiting:
        raise ValueError(
            "SparseOptimizer clears weights before the first training step, so they must exist by then. Received: "
            f"{waiting[0]!r}, which has no value yet, because the model is built inside that step. Give the model an "
            "`Input`, call it once on a batch, or call `model.build(input_shape)` before `fit`."
        )


def check_dense(variables: Iterable[keras.Variable], layers: Iterable[keras.layers.Layer]) -> None:
    """Raise `ValueError` if a variable that an optimizer keeps sparse is that of a sparse layer among those alive."""
    known = set(map(id, _variables_of_sparse(layers)))
    twice = [variable.path for variable in variables if id(variable) in known]
    if twice:
        raise ValueError(
            f"{twice[0]!r} is sparse twice, in a sparse layer and in the SparseOptimizer, each with a mask of its own. "
            "Use stock layers (`keras_dsr.densify(model)`), or leave the layer out with SparseOptimizer(select=...)."
        )


def check_wrapping(optimizer: keras.optimizers.Optimizer, wrapper: type) -> None:
    """Raise `ValueError` if a `SparseOptimizer` cannot hold an optimizer; `wrapper` is its class."""
    while optimizer is not None:
        if isinstance(optimizer, wrapper):
            raise ValueError(
                "SparseOptimizer(inner_optimizer=...) must not hold another SparseOptimizer: each would have masks of "
                f"its own. Received: {optimizer.name!r}. Use one, whose `select` names all that is to be sparse."
            )
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and keras.backend.backend() == "jax":
            raise ValueError(
                "SparseOptimizer(inner_optimizer=...) cannot be a LossScaleOptimizer on JAX, where that one works only "
                "as the outermost. Wrap the other way round: LossScaleOptimizer(SparseOptimizer(...))."
            )
        optimizer = getattr(optimizer, "inner_optimizer", None)


def checked_decay(decay: float, owner: str, argument: str) -> float:
    """Return the decay, or raise `ValueError` if it is outside [0, 1); it is an argument of `owner`."""
    if not is_number(decay) or not 0 <= decay < 1:
        raise ValueError(
            f"{owner}({argument}=...) must be a number in [0, 1), the decay of remembered gradients: 0 keeps the last "
            f"gradient alone. Received: {argument}={decay!r}"
        )
    return float(decay)


def checked_inner(optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that is meant, or raise `ValueError` if there is no such one."""
    found = reason = None
    try:
        found = keras.optimizers.get(optimizer)
    except Exception as error:  # Keras raises about anything, by what it was given
        reason = error
    if not isinstance(found, keras.optimizers.Optimizer):
        raise ValueError(
            "SparseOptimizer(inner_optimizer=...) must be a Keras optimizer, or its name, such as 'adam'. "
            f"Received: inner_optimizer={optimizer!r}"
        ) from reason
    return found


def check_new_state(name: str, dtype: str, taken: Sequence[str]) -> None:
    """Raise `ValueError` if an optimizer with these names cannot have a state of this name and dtype."""
    check_state_variable(name, dtype, "SparseOptimizer.add_state")
    if name in taken:
        raise ValueError(
            f"SparseOptimizer.add_state(name=...) must be a new name. Received: name={name!r}; taken are "
            f"{', '.join(map(repr, taken))}. Give the state another name."
        )


def check_built(optimizer: keras.optimizers.Optimizer, method: str) -> None:
    """Raise `ValueError` if a method needs the variables of a model and the optimizer has none yet."""
    if not optimizer.built:
        raise ValueError(
            f"SparseOptimizer.{method}() needs the variables of a model. Received: an optimizer that has not been "
            "built. Call `optimizer.build(model.trainable_variables)` first."
        )


def check_masks(name: str, own: Mapping, stored: Mapping) -> None:
    """Raise `ValueError` if the masks that were stored are not those of the optimizer of that name, by their shapes."""
    own, others = (
        {role: tuple(value.shape) for role, value in entries.items() if role.startswith("mask_")}
        for entries in (own, stored)
    )
    if own != others:
        raise ValueError(
            f"The masks that were saved are not those of {name!r}: other variables were sparse. Expected, by "
            f"index of the trainable variable: {own}. Received: {others}. Load into an optimizer with the same "
            "`select` and the same model."
        )


def _variables_of_sparse(layers: Iterable[keras.layers.Layer]) -> list[keras.Variable]:
    found: list[keras.Variable] = []
    for layer in layers:
        if isinstance(layer, MaskedLayer):
            found += [layer.variable_of(role) for role in layer.sparse_roles]
        elif isinstance(layer, CompactLayer) and getattr(layer, "built", False):
            found.append(layer.kernel_values)
    return found
