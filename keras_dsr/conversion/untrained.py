"""Models that have not been trained: whether their weights are first ones, and whether they can begin to learn."""

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.keras_layers import walk
from keras_dsr.backend.keras_owners import holds, optimizers_alive
from keras_dsr.backend.keras_slots import steps_taken
from keras_dsr.layers.initial_scale import largest_draw, scales_by_fans
from keras_dsr.selectors.candidates import Candidate
from keras_dsr.selectors.language import NORMALIZATIONS
from keras_dsr.weights.sparse_weight import weight_initializer

# Above this sparsity that many weights in a row, not normalized, let too little of a signal through at dense scale.
TOO_SPARSE, DEEP = 0.95, 3
ROUNDING = 1.01  # of a draw, in float16 and bfloat16


def why_not_first(model: keras.Model, chosen: list[Candidate]) -> str | None:
    """Why weights of a model are not as their initializers drew them, as a clause; None: nothing says so.

    Args:
        model: a built model.
        chosen: weights of it.
    """
    holding = [one for one in optimizers_alive() if any(holds(one, weight.variable) for weight in chosen)]
    steps = max(map(steps_taken, holding), default=0)
    if steps:
        return f"{model.name!r} has been trained for {steps:,} steps"
    for one in chosen:
        initializer = weight_initializer(one.layer, one.role)
        if scales_by_fans(initializer):
            limit = largest_draw(initializer, one.shape)
            largest = float(np.abs(ops.convert_to_numpy(one.variable)).max())
            if largest > ROUNDING * limit:
                return (
                    f"{one.name!r} has been trained, loaded or set: its largest weight is {largest:.3g}, and "
                    f"{type(initializer).__name__} draws at most {limit:.3g} for its shape"
                )
    return None


def check_can_be_scaled(model: keras.Model, chosen: list[Candidate], mask: str) -> None:
    """Raise `ValueError` where `sparsify(initial_scale="active")` would not give first weights the promised variance.

    Args:
        model: a built model.
        chosen: the weights that are to be made sparse.
        mask: how their masks are chosen.
    """
    if mask != "random":
        raise ValueError(
            "sparsify(initial_scale='active') needs mask='random': the largest first weights do not have the variance "
            f"that their initializer promises. Received: mask={mask!r}"
        )
    reason = why_not_first(model, chosen)
    if reason is not None:
        raise ValueError(
            f"sparsify(initial_scale='active') scales first weights, and {reason}. Leave initial_scale out: weights "
            "that have been learned keep their values."
        )
    if chosen and len(not_scaled(chosen)) == len(chosen):
        kinds = sorted({type(weight_initializer(one.layer, one.role)).__name__ for one in chosen})
        raise ValueError(
            "sparsify(initial_scale='active') has nothing to scale: no initializer of the weights that are made sparse "
            f"scales by fans. Received: {', '.join(kinds)}. Give the layers one that does (such as 'he_normal' or "
            "'glorot_uniform'), or leave initial_scale out."
        )


def not_scaled(chosen: list[Candidate]) -> list[str]:
    """The names of the weights whose initializers do not scale by fans."""
    return [one.name for one in chosen if not scales_by_fans(weight_initializer(one.layer, one.role))]


def notes_on_first_weights(
    model: keras.Model, chosen: list[Candidate], sparsities: list[float], mask: str, initial_scale: str
) -> tuple[str, ...]:
    """What there is to say of the scale of a network's first weights, in sentences.

    Args:
        model: a built model, before anything in it is made sparse.
        chosen: the weights that are made sparse.
        sparsities: of each.
        mask: how their masks are chosen.
        initial_scale: of first weights.
    """
    left = not_scaled(chosen)
    if initial_scale == "active":
        names = ", ".join(left[:3]) + ", ..." * (len(left) > 3)
        return (f"As drawn, since their initializers do not scale by fans: {names}.",) if left else ()
    thin = [one for one, sparsity in zip(chosen, sparsities) if round(sparsity, 3) > TOO_SPARSE]
    thin = [one for one in thin if one.name not in left]
    if mask != "random" or len(thin) < DEEP or _has_normalization(model) or why_not_first(model, chosen) is not None:
        return ()
    return (
        f"{len(thin)} weights are sparser than {TOO_SPARSE:g}, and no layer normalizes: with first weights of the "
        "scale of a dense network this one may not begin to learn. Pass initial_scale='active'.",
    )


def _has_normalization(model: keras.Model) -> bool:
    """Whether a layer normalizes activations: one of Keras's, or one that is named so."""
    layers = [layer for layer, _ in walk(model) if not isinstance(layer, keras.layers.Normalization)]
    return any(isinstance(layer, NORMALIZATIONS) or "norm" in type(layer).__name__.lower() for layer in layers)
