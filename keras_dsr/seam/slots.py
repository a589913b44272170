"""Where an optimizer keeps its state for one variable."""

from typing import NamedTuple

import keras


class Slot(NamedTuple):
    """An optimizer variable of the shape of a weight, and the value that it starts from."""

    variable: keras.Variable
    initial_value: float


def optimizer_slots(optimizer: keras.optimizers.Optimizer | None, variable: keras.Variable) -> list[Slot]:
    """Every slot that an optimizer holds for a variable: momenta, accumulators, averages, accumulated gradients.

    Keras has no public look-up of slots by variable. Every optimizer keeps them in lists that run parallel to its
    trainable variables, so a slot is what stands at the index of the variable in such a list.

    Args:
        optimizer: a Keras optimizer, a `LossScaleOptimizer` or `MultiOptimizer` around others, or None.
        variable: a trainable variable of the model.

    Returns:
        A list of `Slot`; empty if the optimizer is None, not built, or does not train the variable.
    """
    slots = []
    for inner in _inner_optimizers(optimizer):
        index = next((i for i, known in enumerate(inner._trainable_variables) if known is variable), None)
        if index is None:
            continue
        initial_values = {
            "_accumulators": getattr(inner, "initial_accumulator_value", 0.0),  # Adagrad and Ftrl
        }
        for name, entries in vars(inner).items():
            if name in ("_variables", "_trainable_variables") or not isinstance(entries, list):
                continue
            slot = entries[index] if len(entries) == len(inner._trainable_variables) else None
            if isinstance(slot, keras.Variable) and tuple(slot.shape) == tuple(variable.shape):
                slots.append(Slot(slot, float(initial_values.get(name, 0.0))))
    return slots


def unwrapped(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """What a `LossScaleOptimizer` wraps; any other optimizer as it is."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def batches_taken(optimizer: keras.optimizers.Optimizer) -> int:
    """The number of batches that an optimizer has seen; an int on the host."""
    return int(unwrapped(optimizer)._iterations)


def batches_a_step(optimizer: keras.optimizers.Optimizer) -> int:
    """How many batches make one optimizer step: `gradient_accumulation_steps`, or 1."""
    return unwrapped(optimizer).gradient_accumulation_steps or 1


def _inner_optimizers(optimizer):
    """The optimizers that hold slots: the parts of a `MultiOptimizer`, else the one that is there."""
    if optimizer is None:
        return []
    return getattr(unwrapped(optimizer), "optimizers", [unwrapped(optimizer)])
