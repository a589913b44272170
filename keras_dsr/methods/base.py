"""The contract of a method: what it sees of a model, two functions, and constants that have defaults."""

from typing import Any, NamedTuple

from keras_dsr.arguments import is_number


class Places(NamedTuple):
    """Where the weights of a tensor in compact storage stand (see `View`).

    Attributes:
        positions: integer tensor of shape `(capacity,)`, flat positions, increasing where the mask is true.
        size: int, the number of places of the dense tensor; it may need more than 32 bits.
    """

    positions: Any
    size: int


class Parts(NamedTuple):
    """What becomes of a tensor in compact storage, of its mask or of a list: old entries, then those of the newborn.

    Attributes:
        kept: tensor of shape `(capacity,)`. As a mask: bool, which entries survive. Else: their new values.
        born: As a mask: the list of the positions that are grown (see `ops.positions`), distinct and increasing,
            none of a survivor. Else: the values there, of the same shape.
    """

    kept: Any
    born: Any


class View(NamedTuple):
    """Tensors that a method decides from; lists have one entry a sparse weight, in the order of the model.

    A method is a frozen dataclass with two pure functions:

    - `init(view) -> state`: the state when training begins, a dict of scalars and of lists of per-weight tensors;
    - `update(view, state, seed) -> (weights, masks, state)`: one reallocation. It returns new tensors and never
      changes those it was given.

    and three constants, each of which it may leave out: `conserves`, true if the total number of active units is the
    same after every update (checked; by default false); `every_step`, true if it must act at every step of the
    optimizer (checked; by default false); `gradient_decay`, None (the default) if it needs no gradients, else the
    decay beta in [0, 1) of their moving average (0: the gradient of the last step alone), which `SparseOptimizer`
    keeps: training with another optimizer is refused.

    A tensor in compact storage comes as a list of entries: in `weights` and `masks` it has shape `(capacity,)`, and
    `places` says where its entries stand; it is of element granularity. What decides by magnitudes alone needs to know
    no more. Growth is told by `Parts` in the place of the tensors (see `methods.growth`). A method that knows of it has
    a fourth constant, `grows_compact = True`; without it, training a model with such tensors is refused.

    In `state`, `"threshold"` (float32 scalar, positive) and every list (of tensors of the shapes of the weights) are
    kept with the layers and go on after a restart: `init` finds in `view.kept` what the layers hold of a list, zeros if
    nothing, and what it returns for the list replaces that. A list that `update` leaves out stays as it is. Any other
    scalar is a report of the last update.

    Attributes:
        step: int32 scalar, the number of optimizer steps taken (`optimizer.iterations`).
        weights: float tensors, the raw kernels. Dead places are not seen by the network, whatever they hold.
        masks: bool tensors of the shapes of the weights, true where a weight is active.
        unit_axes: tuples of ints, the axes that one unit spans (see `ops.patterns`); static, not tensors.
        learning_rate: float scalar, of the next step; NaN where a model has no optimizer or several.
        initializers: functions from a `StepSeed` to new values for the whole tensor, drawn as the layer draws its
            first weights; static.
        names: strings, the paths of the weights, such as `"dense/kernel"`; static.
        gradients: float tensors of the shapes of the weights: the moving average m <- beta * m + (1 - beta) * g of the
            loss's gradients, also at dead places, with the decay that the method asks for; None for a method that asks
            for none.
        places: `Places` for a tensor in compact storage, None for others; None: there are only others.
        kept: for `init` alone: the lists that the layers hold, by name; one that they do not hold is absent.
    """

    step: Any
    weights: list
    masks: list
    unit_axes: list
    learning_rate: Any
    initializers: list
    names: list
    gradients: list | None = None
    places: list | None = None
    kept: dict | None = None


class Constants(NamedTuple):
    """What a method says of itself (see `View`); the defaults are those of a method that does not say it."""

    conserves: bool = False
    every_step: bool = False
    gradient_decay: float | None = None
    grows_compact: bool = False


def constants_of(method: Any) -> Constants:
    """The constants of a method; it need not define any."""
    return Constants(**{name: getattr(method, name, value) for name, value in Constants._field_defaults.items()})


def check_method(method: Any, owner: str) -> None:
    """Raise `TypeError` if this is no method, `ValueError` if one of its constants is out of range.

    Args:
        method: what was given.
        owner: who asks, in call form (`"Reallocate"`), for the message.
    """
    lacking = [name for name in ("init", "update") if not callable(getattr(method, name, None))]
    why = f" (of type {type(method).__name__}), which has no {' and no '.join(lacking)} to call"
    if isinstance(method, type):
        why = f", which is a class: make an instance of it, such as {method.__name__}()"
    if isinstance(method, type) or lacking:
        raise TypeError(
            f"{owner}(method=...) must be a method, such as keras_dsr.methods.DSR(target=600), or an object of one's "
            f"own with init(view) and update(view, state, seed). Received: method={method!r}{why}"
        )
    constants = constants_of(method)
    decay = constants.gradient_decay
    wrong = {name: "True or False" for name, value in constants._asdict().items() if not isinstance(value, bool)}
    wrong.pop("gradient_decay", None)
    if not (decay is None or (is_number(decay) and 0 <= decay < 1)):
        wrong["gradient_decay"] = "None or a float in [0, 1)"
    for name, expected in wrong.items():
        raise ValueError(
            f"{owner}(method=...) has a constant {name!r} that must be {expected}. Received: method={method!r}, of "
            f"which it is {getattr(constants, name)!r}"
        )
