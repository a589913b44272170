"""Why a channel that is dead stays all the same, for the report."""

import numpy as np

from keras_dsr.shrinking.analysis import Analysis, Network, is_opaque, spread
from keras_dsr.shrinking.channel_rules import Barrier, Channelwise, Join, Linear

LAST, JOINED, PADDED, OPAQUE, OUTPUT = range(1, 6)


def causes(network: Network, analysis: Analysis) -> list[np.ndarray]:
    """Why each channel of each tensor could not go, if it is a dead one.

    Returns:
        Int arrays, one a tensor: `kind * len(steps) + step`, where the kind is `LAST` (a layer has one unit at least),
        `JOINED` (aligned with others in that step), `PADDED` (a constant that that step cannot fold, as it pads with
        zeros), `OPAQUE` (that step is not looked through), or `OUTPUT` (of the network); the larger kind goes first.
    """
    count = len(network.steps)
    why = [np.full(size, LAST * count, int) for size in network.sizes]
    for index in network.outputs:
        why[index][:] = OUTPUT * count
    for position, step in enumerate(network.steps):
        if not any(analysis.reached[index] for index in step.outputs):
            continue
        if is_opaque(step):
            for index in (*step.inputs, *step.outputs) if isinstance(step, Barrier) else step.outputs:
                why[index] = np.maximum(why[index], OPAQUE * count + position)
        elif isinstance(step, Join) and len(step.inputs) - len(analysis.dropped[position]) > 1:
            why[step.outputs[0]] = np.maximum(why[step.outputs[0]], JOINED * count + position)
        if isinstance(step, Linear | Channelwise):
            padded = _lost_at_edges(step, analysis)
            source = step.inputs[0]
            why[source] = np.where(padded, np.maximum(why[source], PADDED * count + position), why[source])
    return spread(network, analysis.dropped, why)


def _lost_at_edges(step: Linear | Channelwise, analysis: Analysis) -> np.ndarray:
    """The constants that a step reads and cannot fold."""
    (source,), (target,) = step.inputs, step.outputs
    values = analysis.constants[source]
    if isinstance(step, Linear):
        lost = ~step.folded(values) & step.connected[:, analysis.wanted[target]].any(axis=1)
    else:
        lost = np.isnan(analysis.constants[target])
    return lost & ~np.isnan(values)
