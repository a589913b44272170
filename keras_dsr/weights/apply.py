"""What a method's decision makes of one tensor: its values, where its weights are, and the optimizer's slots."""

from typing import Any, NamedTuple

from keras import ops

from keras_dsr.methods.base import Parts, Places
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import unit_mask
from keras_dsr.ops.positions import count_positions, laid_out, layout, no_positions
from keras_dsr.ops.selection import count_true


class Rewritten(NamedTuple):
    """What is to be written to one sparse weight.

    Attributes:
        values: for its variable.
        where: for the variables that say where its weights are.
        slots: for the slots of its variable.
        kept: for the variables in which methods keep something, by name; those that change.
        count: int32 scalar, its active units.
        record: for its record.
    """

    values: Any
    where: list
    slots: list
    kept: dict
    count: Any
    record: Any = None


def rewritten_masked(weight, mask, old_mask, unit_axes, slots: list, kept: dict) -> Rewritten:
    """Of a tensor with a mask.

    Args:
        weight: its new values; dead places may hold anything.
        mask: its new mask.
        old_mask: its mask before.
        unit_axes: the axes that one unit spans.
        slots: pairs of a slot's value and the number that it starts from.
        kept: what the method returned of what it keeps, by name.
    """
    weight = mask_weights(weight, mask)
    # Dead, newborn, or reborn where it had just died: its slots start over.
    starts_over = (weight == 0) | (mask & ~old_mask)
    slots = [ops.where(starts_over, ops.cast(initial, value.dtype), value) for value, initial in slots]
    return Rewritten(weight, [mask], slots, kept, count_true(unit_mask(mask, unit_axes)))


def rewritten_compact(weight, mask, places: Places, columns: int, slots: list, kept: dict) -> Rewritten:
    """Of a tensor in compact storage: all that it has moves with its weights.

    Args:
        weight: `Parts`, its values; or a tensor of shape `(capacity,)` where none is grown.
        mask: `Parts`, which entries survive and the positions that are grown; or a bool tensor, as for `weight`.
        places: where its weights stand now.
        columns: int, of the matrix in which they stand.
        slots: pairs of a slot's value and the number that it starts from.
        kept: what the method returned of what it keeps, or what is held of it, by name; `Parts` or tensors.
    """
    mask = mask if isinstance(mask, Parts) else Parts(mask, no_positions(mask.shape[0]))
    order = layout(places.positions, mask.kept, mask.born)
    count = count_true(mask.kept) + count_positions(mask.born)

    def moved(entries, fill=0):
        if not isinstance(entries, Parts):
            entries = Parts(entries, ops.full(ops.shape(mask.born), fill, dtype=entries.dtype))
        return laid_out(entries.kept, entries.born, order, fill)

    positions = moved(Parts(places.positions, mask.born))
    rows = positions // columns
    values = moved(weight)
    new_slots = []
    for value, initial in slots:
        initial = ops.cast(initial, value.dtype)
        new_slots.append(ops.where(values == 0, initial, moved(value, initial)))
    where = [ops.stack([rows, positions - rows * columns], axis=1), ops.cast(count, "int32")]
    kept = {name: moved(entries) for name, entries in kept.items()}
    return Rewritten(values, where, new_slots, kept, where[-1])
