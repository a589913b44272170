"""Which channels of a network can go: those that are constant, and those that nothing depends on. Plain numpy."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from keras_dsr.shrinking.channel_rules import Barrier, Concatenation, Constants, Linear, Step, unknown


class Network(NamedTuple):
    """A graph of steps.

    Attributes:
        sizes: of each tensor, the number of its channels.
        steps: in an order in which each comes after those that make its inputs.
        inputs: the tensors that are given; they keep all their channels.
        outputs: the tensors that are asked for; they keep all their channels.
    """

    sizes: Sequence[int]
    steps: Sequence[Step]
    inputs: Iterable[int]
    outputs: Iterable[int]


class Analysis(NamedTuple):
    """What can go. Each list has one entry a tensor.

    Attributes:
        constants: the channels that are constant, and their values; NaN: not constant.
        wanted: bool arrays, the channels on which an output depends (also those that are kept for another reason, and
            constant). What a channel holds that is kept and not wanted makes no difference.
        needed: bool arrays, those of the wanted channels on which no output has to depend: constants that stay, and the
            last channel of a tensor.
        kept: bool arrays, the channels that stay; at least one of each tensor that is reached.
        reached: the tensors that the outputs are still computed from.
        dropped: of each step, the operands that it goes on without; all, if what it returns is not reached.
    """

    constants: list[Constants]
    wanted: list[np.ndarray]
    needed: list[np.ndarray]
    kept: list[np.ndarray]
    reached: list[bool]
    dropped: list[frozenset[int]]


def analyse(network: Network) -> Analysis:
    """Find the channels that can go, so that the outputs stay what they are (where all numbers are finite).

    A channel goes if no output depends on it, or if it is constant and all that depends on it can take the constant
    into a bias; and if the same holds for each channel that is aligned with it, as in a residual join.
    """
    constants = known_constants(network)
    needed = [np.zeros(size, bool) for size in network.sizes]
    kept = [np.zeros(size, bool) for size in network.sizes]
    whole = set(network.inputs) | set(network.outputs)
    whole.update(index for step in network.steps if is_opaque(step) for index in step.outputs)
    while True:
        wanted, reached, dropped = _backward(network, constants, needed, kept)
        kept = [of_tensor | (index in whole) for index, of_tensor in enumerate(wanted)]
        kept = spread(network, dropped, kept)
        # A constant that stays all the same stays as it is; to fold it too would need a bias, and save nothing.
        more = [
            stays & ~np.isnan(values) & ~wants & is_reached
            for stays, values, wants, is_reached in zip(kept, constants, wanted, reached)
        ]
        if not any(one.any() for one in more):
            empty = [index for index, stays in enumerate(kept) if reached[index] and len(stays) and not stays.any()]
            if not empty:
                return Analysis(constants, wanted, needed, kept, reached, dropped)
            more[empty[0]][0] = True  # a layer has one unit at least
        needed = [before | one for before, one in zip(needed, more)]


def is_opaque(step: Step) -> bool:
    """Whether nothing is known of what a step returns, and all of it stays."""
    return isinstance(step, Barrier) or (isinstance(step, Linear) and step.activate is None)


def known_constants(network: Network) -> list[Constants]:
    """Of each tensor, the channels that are constant and their values."""
    constants = [unknown(size) for size in network.sizes]
    for step in network.steps:
        for index, values in zip(step.outputs, step.constants([constants[index] for index in step.inputs])):
            constants[index] = values
    return constants


def _backward(network: Network, constants, needed, kept) -> tuple[list[np.ndarray], list[bool], list[frozenset[int]]]:
    """What the outputs depend on, and what they are computed from, if besides them the `needed` channels matter."""
    wanted = [np.zeros(size, bool) for size in network.sizes]
    reached = [False] * len(network.sizes)
    dropped = [frozenset(range(len(step.inputs))) for step in network.steps]
    for index in network.outputs:
        wanted[index][:], reached[index] = True, True
    for position in reversed(range(len(network.steps))):
        step = network.steps[position]
        if not any(reached[index] for index in step.outputs):
            continue
        for index in step.outputs:
            wanted[index] |= needed[index]
        values = [constants[index] for index in step.inputs]
        of_outputs = [wanted[index] for index in step.outputs]
        of_inputs = step.wants(of_outputs, values, [constants[index] for index in step.outputs])
        dropped[position] = step.droppable(of_outputs[0], values)
        if isinstance(step, Concatenation):
            empty = [not (wants.any() or kept[index].any()) for index, wants in zip(step.inputs, of_inputs)]
            dropped[position] = frozenset(np.flatnonzero(empty)) if not all(empty) else frozenset(range(1, len(empty)))
        for operand, index in enumerate(step.inputs):
            if operand not in dropped[position]:
                wanted[index] = wanted[index] | of_inputs[operand]
                reached[index] = True
    return wanted, reached, dropped


def spread(network: Network, dropped: Sequence[frozenset[int]], values: list[np.ndarray]) -> list[np.ndarray]:
    """Give each channel the largest value of all the channels that are aligned with it, over any number of steps."""
    values = [of_tensor.copy() for of_tensor in values]
    pairs = [
        (step.inputs[one.operand], one.input_channels, step.outputs[0], one.output_channels)
        for step, without in zip(network.steps, dropped)
        for one in step.alignments()
        if one.operand not in without
    ]
    changed = True
    while changed:
        changed = False
        for source, source_channels, target, target_channels in (*pairs, *reversed(pairs)):
            before, of_source, of_target = values[source].copy(), values[source], values[target]
            np.maximum.at(of_source, source_channels, of_target[target_channels])
            raised = np.maximum(of_target[target_channels], of_source[source_channels])
            changed |= bool((raised != of_target[target_channels]).any() or (before != of_source).any())
            of_target[target_channels] = raised
    return values
