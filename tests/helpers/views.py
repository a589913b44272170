"""Inputs of a method for models that do not exist, made of plain tensors, and what it makes of them."""

import dataclasses
import math

import keras
import numpy as np
from hypothesis import strategies as st
from keras import ops

from keras_dsr.layers.units_by_pattern import outputs_of
from keras_dsr.methods import MethodInputs
from keras_dsr.ops.initial_masks import active_units, random_mask
from keras_dsr.ops.units import SINGLE, Blocks, Slices, Units
from keras_dsr.weights.apply import Stored, apply_decision
from tests.helpers.networks import dtype_of, int32, program, values

EIGHT_WEIGHTS = np.array([0.5, -0.09, 0.1, -0.3, 0.05, 0.2, -0.01, 0.4], "float32")
EIGHT_ACTIVE = np.array([1, 1, 1, 0, 1, 1, 1, 0], bool)
EIGHT_GRADIENTS = np.array([9, -9, 9, 0.3, 0.1, 9, -0.2, -0.4], "float32")

SHAPES = [[(8,)], [(6, 7), (7, 3)], [(3, 3, 4, 5), (5, 9), (2, 2)], [(1, 40), (3,)]]
SPARSITIES = [0.0, 0.03, 0.3, 0.8, 0.99]  # saturated, nearly full, ..., one or two units left
DTYPES = ["float32", "float16", "bfloat16"]
STEPS = st.integers(0, 2**31 - 1)
SEEDS = st.integers(-(2**40), 2**40)


@dataclasses.dataclass(frozen=True, kw_only=True)
class View(MethodInputs):
    """The inputs of a method, and what draws the weights of the layers: functions from a `StepSeed` to a tensor."""

    initializers: list

    def _replace(self, **changes) -> "View":
        """The same with other weights, masks, gradients, step or seed, and all that follows from them."""
        names = ("weights", "masks", "gradients", "units", "outputs", "step", "seed", "learning_rate", "names", "sizes")
        held = {name: getattr(self, name) for name in (*names, "positions", "initializers")}
        return View.of(**{**held, **changes})


def view(weights, masks, units=None, step=7, learning_rate=0.1, initializers=None, gradients=None) -> View:
    """A view of these weights and masks; by default grown weights are drawn from [1, 2), gradients are normal."""
    weights = [ops.convert_to_tensor(weight) for weight in weights]

    def initializer(weight):
        shape, dtype = tuple(weight.shape), dtype_of(weight)
        return lambda seed: keras.random.uniform(shape, 1, 2, dtype=dtype, seed=seed)

    if gradients is None:
        gradients = [np.random.default_rng(2).normal(size=weight.shape) for weight in weights]

    units = units or [SINGLE] * len(weights)
    return View.of(
        step=int32(step),
        seed=0,
        weights=weights,
        masks=[ops.convert_to_tensor(mask) for mask in masks],
        units=units,
        outputs=[outputs_of(None, "kernel", tuple(weight.shape), of) for weight, of in zip(weights, units)],
        learning_rate=ops.convert_to_tensor(learning_rate, "float32"),
        names=[f"layer_{index}/kernel" for index in range(len(weights))],
        sizes=[of.count(weight.shape) for weight, of in zip(weights, units)],
        gradients=[ops.cast(gradient, weight.dtype) for gradient, weight in zip(gradients, weights, strict=True)],
        positions={},
        initializers=initializers or [initializer(weight) for weight in weights],
    )


def updated(method, seen: View, state: dict, seed: int = 0) -> tuple[list, list, dict]:
    """What an update makes of a view: weights, masks and the state."""
    seen = dataclasses.replace(seen, seed=seed)
    decision, state = method.update(seen, state)
    stored = [Stored(draw, None, [], {}, method.pruned_training is not None) for draw in seen.initializers]
    rewritten, _ = apply_decision(method, seen, decision, stored)
    return [of.values for of in rewritten], [of.where[0] for of in rewritten], state


def split(seen: View, joined) -> list:
    """What is joined, by tensor."""
    return [values(part) for part in seen.segments.split(joined)]


_PROGRAMS = {}


def decided(method, seen: View, state: dict, seed: int = 0) -> tuple:
    """As `updated`: on JAX by one compiled program, which is kept for the next view.

    (There every operation alone would be compiled too, for each shape, and every loop each time that it runs.)
    """
    if keras.backend.backend() != "jax":
        return updated(method, seen, state, seed)
    drawn = [initializer.__qualname__ for initializer in seen.initializers]
    shapes = [(weight.shape, str(weight.dtype)) for weight in seen.weights]
    key = repr((method, seed, seen.units, drawn, shapes, seen.gradients is None))
    if key not in _PROGRAMS:
        _PROGRAMS[key] = program(lambda tensors, state: updated(method, seen._replace(**tensors), state, seed))
    names = ("step", "learning_rate", "weights", "masks", "gradients")
    return _PROGRAMS[key]({name: getattr(seen, name) for name in names}, state)


def view_of(*tensors, **settings) -> View:
    """A view of float32 tensors, all active; None marks a pruned one."""
    masks = [np.array([value is not None for value in tensor]) for tensor in tensors]
    weights = [np.array([value or 0 for value in tensor], "float32") for tensor in tensors]
    return view(weights, masks, **settings)


def normal_view(step=7, sparsity=0.7) -> View:
    """Two tensors of 600 and 300 normal weights, of which 180 and 90 are active."""
    random = np.random.default_rng(0)
    masks = [random_mask(shape, active_units(math.prod(shape), sparsity), seed=1) for shape in [(20, 30), (30, 10)]]
    return view([random.normal(size=mask.shape).astype("float32") for mask in masks], masks, step=step)


def _units_of(shape: tuple[int, ...], slices: bool, blocks: bool) -> Units:
    if blocks and len(shape) > 1:
        return Blocks((4, 1), (math.prod(shape[:-2]), *shape[-2:]))
    return Slices((0, 1)) if slices and len(shape) == 4 else SINGLE


@st.composite
def views(draw, slices=None, step=STEPS) -> View:
    """Views of one to three tensors; no weight is 0, pruned ones hold something too, some gradients are no numbers.

    Args:
        slices: whether a unit of a 4-dimensional weight is a slice; None: either, or units are blocks.

    On JAX, where a program is compiled for each, there are few shapes and dtypes.
    """
    on_jax = keras.backend.backend() == "jax"
    may_be_blocks = slices is None and not on_jax
    slices = draw(st.booleans()) if slices is None else slices
    shapes = SHAPES[2] if on_jax else draw(st.sampled_from(SHAPES))
    blocks = may_be_blocks and draw(st.booleans())
    units = [_units_of(shape, slices, blocks) for shape in shapes]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.integers(-3, 1))
    masks = [
        random_mask(
            shape,
            active_units(of.count(shape), draw(st.sampled_from(SPARSITIES))),
            of,
            int(random.integers(2**31)),
        )
        for shape, of in zip(shapes, units)
    ]
    normals = [random.normal(size=mask.shape) for mask in masks]
    dtype = draw(st.sampled_from(DTYPES if not on_jax else ["float32"] if slices else ["bfloat16"]))
    weights = [ops.cast(scale * (normal + 0.01 * np.sign(normal)), dtype) for normal in normals]
    gradients = [random.normal(size=mask.shape) * random.choice([1, 1, 1, 0, np.nan], mask.shape) for mask in masks]
    return view(weights, masks, units, step=draw(step), gradients=gradients)
