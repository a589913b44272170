"""What the methods share that grow: where a tensor has room, and the choice among its free positions."""

from keras import ops

from keras_dsr.arguments import is_one_of
from keras_dsr.methods.base import Grown, MethodInputs
from keras_dsr.ops.positions import free_positions, no_positions, nowhere, positions_where
from keras_dsr.ops.randomness import random_keys
from keras_dsr.ops.segments import Segments
from keras_dsr.ops.selection import MAX_KEY, count_in_each, ordered_bits, select_smallest, select_smallest_in_rows
from keras_dsr.ops.units import Groups

_SMALLEST = 1e-37
STARTS = ("zeros", "initializer")


def check_growth(growth: str, owner: str) -> None:
    """Raise `ValueError` if there is no such growth."""
    if not is_one_of(growth, STARTS):
        raise ValueError(
            f"{owner}(growth=...) must be 'zeros' or 'initializer': what a grown weight starts from, 0 or a value "
            f"drawn by the layer's kernel initializer. Received: growth={growth!r}"
        )


def grow_at_random(inputs: MethodInputs, taken, counts, purpose: str, kept=None) -> Grown:
    """In each tensor, as many units as asked for, uniformly at random, without replacement, among those not taken.

    Args:
        inputs: what the update was given.
        taken: joined bool tensor, the units that must not be chosen, such as `inputs.active`.
        counts: int32 tensor of shape `(tensors,)`, how many to grow in each, at most as many as are free.
        purpose: string, keeps independent draws at one step apart, such as `"set.grow"`.
        kept: joined bool tensor, the active units that stay, for tensors whose pattern has groups: there each group
            grows as many as it loses, whatever `counts` says, also where they are taken if there is no room else.
    """
    seeds, segments, compact = inputs.seeds(purpose), inputs.segments, inputs.positions
    chosen, units = {}, ops.zeros_like(taken)
    if compact:
        entries = segments.split(taken)
    for index, positions in compact.items():
        stored = positions_where(positions, ops.reshape(entries[index], (-1,)))
        chosen[index] = free_positions(stored, counts[index], inputs.sizes[index], seeds[index], positions.shape[0])
    if len(compact) < len(seeds):
        units = _select(inputs, random_keys(segments, seeds), ~taken, counts, kept)
    return Grown(units, chosen)


def _select(inputs: MethodInputs, keys, free, counts, kept):
    """In masked tensors as many units as asked for, of the smallest keys: by tensor, or by group."""
    grouped = {index: of for index, of in enumerate(inputs.units) if isinstance(of, Groups)}
    by_tensor = [index not in inputs.positions and index not in grouped for index in range(len(inputs.units))]
    counts = ops.where(ops.convert_to_tensor(by_tensor), counts, 0)
    units = select_smallest(keys, free, counts, inputs.segments)
    if not grouped:
        return units
    if kept is None:
        raise ValueError(
            f"What is grown in {inputs.names[min(grouped)]!r} depends on what is kept in each of its groups: pass "
            "`kept=` to grow_at_random or grow_where_largest."
        )
    units = inputs.segments.split(units)
    joined = (inputs.active, kept, free, keys)
    active, kept, free, keys = (inputs.segments.split(each) for each in joined)
    for index, of in grouped.items():
        had, stay, may_be, key = (of.fold(each[index]) for each in (active, kept, free, keys))
        missing = count_in_each(had) - count_in_each(stay)
        has_room = count_in_each(may_be) >= missing
        may_be = ops.where(has_room[:, None], may_be, ~stay)
        units[index] = of.unfold(select_smallest_in_rows(key, may_be, missing), units[index].shape)
    return inputs.segments.join(units)


def grow_none(inputs: MethodInputs) -> Grown:
    """No unit of any tensor."""
    none = {index: no_positions(positions.shape[0]) for index, positions in inputs.positions.items()}
    return Grown(ops.zeros_like(inputs.active), none)


def grow_where_largest(inputs: MethodInputs, taken, counts, scores=None, kept=None) -> Grown:
    """In each tensor, as many of the units not taken as asked for: those with the largest scores, ties by position.

    Args:
        inputs: what the update was given.
        taken: joined bool tensor, the units that must not be chosen.
        counts: int32 tensor of shape `(tensors,)`.
        scores: joined float tensor, non-negative and without NaN; None: `inputs.gradient_magnitudes`.
        kept: as `grow_at_random`.

    Raises:
        ValueError: scores for a tensor in compact storage, of which only gradients are known where it has no weight.
    """
    if scores is not None and inputs.positions:
        raise ValueError(
            f"grow_where_largest(scores=...) must be None where {inputs.names[min(inputs.positions)]!r} is in compact "
            "storage: at positions without a weight only gradients are known. Build the layer with storage='masked'."
        )
    scores = inputs.gradient_magnitudes if scores is None else scores
    segments, free = inputs.segments, ~taken
    units = _select(inputs, MAX_KEY - ordered_bits(scores), free, counts, kept)
    if not inputs.positions:
        return Grown(units, {})
    units, positions = segments.split(units), {}
    there, scores = segments.split(free & inputs.active), segments.split(scores)
    for index in inputs.positions:
        chosen, positions[index] = _largest_of_list(inputs, index, there[index], scores[index], counts[index])
        units[index] = ops.reshape(chosen, units[index].shape)
    return Grown(segments.join(units), positions)


def refuse_groups(inputs: MethodInputs, why: str, remedy: str) -> None:
    """Raise `ValueError` if a tensor has a pattern whose groups each have a number of their own.

    Args:
        inputs: what `init` was given.
        why, remedy: the parts of a sentence before and behind the name of the tensor.
    """
    for name, of in zip(inputs.names, inputs.units):
        if isinstance(of, Groups):
            raise ValueError(f"{why}, and {name!r} is of {of}. {remedy}, or another pattern.")


def check_relative_to_output(inputs: MethodInputs, owner: str) -> None:
    """Raise `ValueError` if it is not known of all gradients of a tensor how large they are beside each other."""
    if inputs.positions:
        raise ValueError(
            f"{owner}(relative_to_output=True) needs the gradients of all weights of an output, and "
            f"{inputs.names[min(inputs.positions)]!r} is in compact storage, which knows only the largest. Build the "
            "layer with storage='masked', or leave relative_to_output=False."
        )


def relative_to_output(inputs: MethodInputs, magnitudes):
    """Magnitudes of units over their root mean square among all units of the same output.

    Where gradients of some outputs are much larger than those of others (behind a batch norm those of an output of
    little variance) growth by their magnitude goes to these alone, and so do weights that are trained by them.

    Args:
        inputs: what the update was given.
        magnitudes: joined float32 tensor, non-negative.

    Returns:
        A joined float32 tensor; 0 where an output has none but zeros.
    """
    scores = []
    for tensor, outputs in zip(inputs.segments.split(magnitudes), inputs.outputs, strict=True):
        if outputs is None:
            scores.append(tensor)
            continue
        folded = outputs.fold(tensor)
        folded = folded / ops.maximum(ops.max(folded, axis=1, keepdims=True), _SMALLEST)  # squares stay finite
        size = ops.sqrt(ops.mean(ops.square(folded), axis=1, keepdims=True))
        scores.append(outputs.unfold(folded / ops.maximum(size, _SMALLEST), tensor.shape))
    return inputs.segments.join(scores)


def _largest_of_list(inputs: MethodInputs, index: int, there, scores, count) -> tuple:
    """Of a tensor in compact storage the units with the largest scores: of those that there are, and new positions.

    Args:
        inputs: what the update was given.
        index: int, which tensor it is.
        there: bool tensor of its units, those that may be chosen.
        scores: float tensor, theirs.
        count: int32 scalar tensor, how many.

    Returns:
        A bool tensor of its units, and a list of positions.
    """
    positions, (others, of_others) = inputs.positions[index], inputs.candidates[index]
    room = positions.shape[0]
    both = ops.concatenate([positions, others])
    may_be = ops.concatenate([ops.reshape(there, (-1,)), others != nowhere()])
    scores = ops.concatenate([ops.reshape(scores, (-1,)), of_others])
    order = ops.argsort(both)
    segments = Segments([(2 * room,)])
    keys, may_be = (segments.join([ops.take(each, order)]) for each in (MAX_KEY - ordered_bits(scores), may_be))
    (chosen,) = segments.split(select_smallest(keys, may_be, ops.reshape(count, (1,)), segments))
    new = positions_where(ops.take(both, order), chosen & (order >= room))[:room]
    return ops.take(chosen, ops.argsort(order))[:room], new


def taken_in_each(inputs: MethodInputs, kept, counts):
    """Where each tensor must not grow: the units that were active, or only those kept if there is no room else.

    Args:
        inputs: what the update was given.
        kept: joined bool tensor, the active units that stay.
        counts: int32 tensor of shape `(tensors,)`, how many each tensor grows.

    Returns:
        A joined bool tensor.
    """
    has_room = _room(inputs, inputs.active, kept) >= counts
    return inputs.active & (kept | inputs.segments.spread(has_room))


def taken_in_all(inputs: MethodInputs, kept) -> tuple:
    """Where tensors that share what was pruned must not grow: as `taken_in_each`, with the room of all taken together.

    Args:
        inputs: what the update was given.
        kept: joined bool tensor, the active units that stay.

    Returns:
        `(taken, capacities)`: a joined bool tensor, and how many units each tensor can take beside those kept, an int32
        tensor of shape `(tensors,)`.
    """
    pruned = ops.sum(inputs.count(inputs.active)) - ops.sum(inputs.count(kept))
    before, now = _room(inputs, inputs.active, kept), _room(inputs, kept, kept)
    crowded = pruned > ops.sum(before)  # then the positions just pruned are free too
    return kept | (inputs.active & ~crowded), ops.where(crowded, now, before)


def _room(inputs: MethodInputs, taken, kept):
    """How many units each tensor can take beside those kept where others are taken, int32."""
    places = ops.convert_to_tensor([min(size, MAX_KEY) for size in inputs.sizes], "int32")
    entries = ops.convert_to_tensor(inputs.segments.sizes, "int32")
    return ops.minimum(places - inputs.count(taken), entries - inputs.count(kept))
