"""Where an optimizer keeps its state for one variable."""

from collections.abc import Iterable
from typing import NamedTuple

import keras
from keras import ops

from keras_dsr.ops.masking import mask_weights

# What these do to a weight depends on its own value, gradient and slots alone, and is nothing when all three are zero
# (the slots: at their initial values). Others (Muon) move pruned weights too.
ELEMENTWISE_OPTIMIZERS = (
    keras.optimizers.SGD,
    keras.optimizers.RMSprop,
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adadelta,
    keras.optimizers.Adagrad,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.Lion,
)


# Where Adam and RMSprop and those after them, Adamax, Adafactor, Muon and Adagrad keep how large gradients were.
_SIZES_OF_GRADIENTS = ("_velocities", "_velocity_hats", "_u", "_v", "adam_velocities", "_accumulators")


def is_elementwise(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimizer is one of `ELEMENTWISE_OPTIMIZERS`; a user's own subclass is not.

    On torch Keras makes an optimizer of a class of its own, which does the same to all weights together.
    """
    kinds = [kind for kind in type(optimizer).__mro__ if not kind.__module__.startswith("keras.src.backend.torch.")]
    return kinds[0] in ELEMENTWISE_OPTIMIZERS


class Slot(NamedTuple):
    """An optimizer variable of the shape of a weight.

    Attributes:
        variable: it.
        initial_value: what it starts from.
        scales_steps: whether it remembers how large gradients were, and a step is divided by its size.
    """

    variable: keras.Variable
    initial_value: float
    scales_steps: bool = False


def optimizer_slots(optimizer: keras.optimizers.Optimizer | None, variable: keras.Variable) -> list[Slot]:
    """Every slot that an optimizer holds for a variable: momenta, accumulators, averages, accumulated gradients.

    Keras has no public look-up of slots by variable. Every optimizer keeps them in lists that run parallel to its
    trainable variables, so a slot is what stands at the index of the variable in such a list.

    Args:
        optimizer: a Keras optimizer, one that wraps others in any depth (`LossScaleOptimizer`, `SparseOptimizer`,
            `MultiOptimizer`), or None.
        variable: a trainable variable of the model.

    Returns:
        A list of `Slot`; empty if the optimizer is None, not built, or does not train the variable.
    """
    slots = []
    for inner in innermost_optimizers(optimizer):
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
                slots.append(Slot(slot, float(initial_values.get(name, 0.0)), name in _SIZES_OF_GRADIENTS))
    return slots


def clear_dead_places(variable: keras.Variable, mask, slots: Iterable[Slot] = ()) -> None:
    """Assign 0 to a variable wherever it is pruned, and to its slots there the values that they start from.

    Args:
        variable: a Keras variable.
        mask: bool tensor of its shape, true where it is active.
        slots: the slots of the variable that are cleared too.
    """
    variable.assign(mask_weights(ops.convert_to_tensor(variable), mask))
    for slot in slots:
        value = ops.convert_to_tensor(slot.variable)
        slot.variable.assign(ops.where(mask, value, ops.cast(slot.initial_value, value.dtype)))


def unwrapped(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """What a `LossScaleOptimizer` or a `SparseOptimizer`, or one around the other, wraps; any other as it is."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def innermost_optimizers(optimizer: keras.optimizers.Optimizer | None) -> list[keras.optimizers.Optimizer]:
    """The optimizers that do the updates and hold the slots: the parts of a `MultiOptimizer`, else the one there is."""
    if optimizer is None:
        return []
    optimizer = unwrapped(optimizer)
    if not hasattr(optimizer, "optimizers"):
        return [optimizer]
    return [inner for part in optimizer.optimizers for inner in innermost_optimizers(part)]


def scales_losses(optimizer: keras.optimizers.Optimizer | None) -> bool:
    """Whether an optimizer has losses multiplied before they are differentiated, and gradients divided afterwards."""
    if optimizer is None or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer is not None
    inner = [getattr(optimizer, "inner_optimizer", None), *getattr(optimizer, "optimizers", ())]
    return any(scales_losses(one) for one in inner)


def batches_taken(optimizer: keras.optimizers.Optimizer) -> int:
    """The number of batches that an optimizer has seen; an int on the host."""
    return int(ops.convert_to_numpy(unwrapped(optimizer)._iterations))


def batches_a_step(optimizer: keras.optimizers.Optimizer) -> int:
    """How many batches make one optimizer step: `gradient_accumulation_steps`, or 1."""
    return unwrapped(optimizer).gradient_accumulation_steps or 1


def has_value(variable: keras.Variable) -> bool:
    """Whether a variable holds its value: on JAX `fit` takes them out of the variables while it trains."""
    return keras.backend.backend() != "jax" or variable._value is not None


def steps_taken(optimizer: keras.optimizers.Optimizer) -> int:
    """The number of steps that an optimizer has taken; an int on the host."""
    return batches_taken(optimizer) // batches_a_step(optimizer)


def activity(optimizer: keras.optimizers.Optimizer) -> tuple:
    """Numbers that change when an optimizer is asked to take a step, also where a loss scale has it skip that.

    None for one whose values are elsewhere: those of another model that trains, or was interrupted, on JAX.
    """
    if not has_value(unwrapped(optimizer)._iterations):
        return ()
    numbers: list[float] = [batches_taken(optimizer)]
    while hasattr(optimizer, "inner_optimizer"):
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and optimizer.built:
            numbers += [int(ops.convert_to_numpy(optimizer.step_counter)), float(optimizer.dynamic_scale)]
        optimizer = optimizer.inner_optimizer
    return tuple(numbers)
