"""SRigL's ablation: outputs of which too few weights are salient lose all, and the others have more each."""

from keras import ops

from keras_dsr.methods.base import MethodInputs
from keras_dsr.ops.selection import (
    MAX_KEY,
    count_in_each,
    count_true,
    ordered_bits,
    select_smallest,
    select_smallest_in_rows,
)
from keras_dsr.ops.units import FanIn


def check_fan_in(inputs: MethodInputs, owner: str) -> None:
    """Raise `ValueError` if a tensor has another pattern than `"fan_in"`."""
    for name, of in zip(inputs.names, inputs.units):
        if not isinstance(of, FanIn):
            raise ValueError(
                f"{owner} ablates outputs of constant fan-in, and {name!r} is of {of}. Build the layers with "
                "pattern='fan_in', or leave min_salient=None."
            )


def ablate(inputs: MethodInputs, survivors, counts, scores, min_salient: float) -> tuple:
    """Ablate outputs, and grow in each of the others what it lacks (Lasby et al., ICLR 2024, section 3, steps 3 to 7).

    Args:
        inputs: what the update was given, all tensors of the pattern `"fan_in"`.
        survivors: joined bool tensor, the active weights that are not dropped.
        counts: int32 tensor of shape `(tensors,)`, how many are dropped in each tensor.
        scores: joined float tensor, non-negative; weights grow where it is largest.
        min_salient: float in (0, 1), the part of the fan-in that must be salient.

    Returns:
        `(kept, grown)`, joined bool tensors: the survivors that stay, and what grows, also where it was just dropped.
    """
    keys = MAX_KEY - ordered_bits(scores)
    salient = survivors | select_smallest(keys, ~inputs.active, counts, inputs.segments)
    split = [inputs.segments.split(each) for each in (inputs.active, survivors, salient, keys)]
    kept, grown = [], []
    for of, active, stay, worthy, key in zip(inputs.units, *split, strict=True):
        by_output = [of.fold(each) for each in (active, stay, worthy, key)]
        of_output = _of_outputs(*by_output, min_salient)
        kept.append(of.unfold(of_output[0], active.shape))
        grown.append(of.unfold(of_output[1], active.shape))
    return inputs.segments.join(kept), inputs.segments.join(grown)


def _of_outputs(active, stay, worthy, keys, min_salient: float) -> tuple:
    """As `ablate`, of one tensor, of shapes `(outputs, inputs)`."""
    fans, salient = count_in_each(active), count_in_each(worthy)
    total, there = ops.sum(fans), fans > 0
    too_few = there & (ops.cast(salient, "float32") < min_salient * ops.cast(fans, "float32"))
    fewest = ops.maximum(count_true(there) - count_true(too_few), 1)
    fan_in = ops.minimum(total // fewest, keys.shape[1])
    # Without all of these the others would have `fan_in`; so many can have that, and no more need to go.
    ablated = count_true(there) - total // fan_in
    out = select_smallest_in_rows(salient[None], too_few[None], ops.reshape(ablated, (1,)))[0]
    kept = stay & ~out[:, None]
    missing = ops.where(there & ~out, fan_in - count_in_each(kept), 0)
    return kept, select_smallest_in_rows(keys, ~kept, missing)
