"""The checks of the settings of a run: of each value alone, and whether it goes with the others."""

import numbers
import types
import typing
from inspect import signature

from keras_dsr.arguments import LARGEST_STEP, is_whole
from keras_dsr.ops.patterns import check_pattern
from keras_dsr.ops.sparsity_distributions import DISTRIBUTIONS
from train.experiment.network import NETWORKS
from train.experiment.pattern import pattern_of
from train.methods import Method

if typing.TYPE_CHECKING:
    from train.experiment.settings import Settings

WIDEST, DEEPEST = 1_000, 10_000  # what could be meant
_PATTERNS = "element, kernel, fan_in, 4x1 or another block, 2:4 or another N:M"


def check_name(flag: str, name: str | None, known) -> None:
    """Raise `ValueError` for a name that is not known."""
    if name is not None and name not in known:
        raise ValueError(f"--{flag} must be one of {', '.join(known)}. Received: --{flag}={name}")


def check_kinds(settings: "Settings") -> None:
    """Raise `ValueError` for a value of another kind than its flag has, or a path that is none."""
    kinds = typing.get_type_hints(type(settings))
    for name, hint in kinds.items():
        value = getattr(settings, name)
        allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        is_kind = {
            str: isinstance(value, str),
            int: is_whole(value),
            float: isinstance(value, numbers.Real) and not isinstance(value, bool),
            bool: isinstance(value, bool),
            types.NoneType: value is None,
        }
        words = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
        expected = " or ".join(words[kind] for kind in allowed if kind in words)
        require(any(is_kind[kind] for kind in allowed), settings, name, expected)
    for name in ("out", "data_dir", "mask_from", "init_from"):
        path = getattr(settings, name)
        require(path is None or (path != "" and "\0" not in path), settings, name, "a path")


def check_values(settings: "Settings", method: Method) -> None:
    """Raise `ValueError` for a value of resolved settings out of its range, or of no use beside others.

    Args:
        settings: with every default filled in.
        method: of the run.
    """
    require(0 <= settings.sparsity < 1, settings, "sparsity", "in [0, 1): the share of kernel weights that are zero")
    for name in ("epochs", "batch_size", "steps_per_epoch", "train_examples"):
        value = getattr(settings, name)
        require(value is None or value >= 1, settings, name, "at least 1")
        require(value is None or value <= LARGEST_STEP, settings, name, f"at most {LARGEST_STEP}")
    require(0 <= settings.seed < 2**31, settings, "seed", "from 0 to 2147483647")
    if "width" not in signature(NETWORKS[settings.model]).parameters:
        require(settings.width is None, settings, "width", f"left out: --model={settings.model} has one size")
    require(settings.width is None or settings.width > 0, settings, "width", "positive")
    require(settings.width is None or settings.width <= WIDEST, settings, "width", f"at most {WIDEST:,}")
    dropout, noise = settings.dropout, settings.label_noise
    if "dropout" not in signature(NETWORKS[settings.model]).parameters:
        require(dropout is None, settings, "dropout", f"left out: --model={settings.model} has none")
    require(dropout is None or 0 <= dropout < 1, settings, "dropout", "in [0, 1): the fraction of hidden units")
    require(noise is None or 0 <= noise <= 1, settings, "label_noise", "in [0, 1]: the share of labels")
    if method.kernels == "tied":
        require(
            settings.sparsity > 0, settings, "sparsity", f"above 0 with --method={settings.method}: it ties weights"
        )
    least = method.least_epochs
    enough = f"enough for an epoch in each of the {least} phases of --method={settings.method}"
    require(settings.epochs >= least, settings, "epochs", enough)
    if settings.method == "dense":
        require(settings.sparsity == 0, settings, "sparsity", "left out, or 0, with --method=dense")
    if settings.model != "wide_resnet":
        require(settings.depth is None, settings, "depth", "left out: only --model=wide_resnet has it")
    else:
        is_depth = 10 <= settings.depth <= DEEPEST and settings.depth % 6 == 4
        require(is_depth, settings, "depth", f"6n + 4, such as 28, from 10 to {DEEPEST:,}")
    if not method.has_target:
        require(settings.target is None, settings, "target", f"left out: --method={settings.method} has none")
    else:
        is_target = 0 < settings.target < 1 or (is_whole(settings.target) and 1 <= settings.target <= LARGEST_STEP)
        require(is_target, settings, "target", "a number of weights, or a fraction of the active ones, in (0, 1)")
    if not method.has_period:
        require(settings.period is None, settings, "period", f"left out: --method={settings.method} has none")
    else:
        is_period = is_whole(settings.period) and 1 <= settings.period <= LARGEST_STEP
        require(is_period or settings.period in (None, "recipe"), settings, "period", "steps, at least 1, or 'recipe'")
    require(_is_pattern(settings.pattern), settings, "pattern", _PATTERNS)
    if settings.pattern != "element":
        require(method.has_units, settings, "pattern", f"left out: --method={settings.method} has single weights only")
    require(settings.distribution in DISTRIBUTIONS, settings, "distribution", f"one of {', '.join(DISTRIBUTIONS)}")
    if settings.distribution != "uniform":
        has_shares = method.has_distribution and settings.mask_from is None
        require(
            has_shares, settings, "distribution", f"left out: no mask is drawn for it by --method={settings.method}"
        )
    if settings.last_layer_at_least is not None:
        _check_last_layer(settings, method)
    if settings.stop_at is not None:
        require(method.moves, settings, "stop_at", f"left out: --method={settings.method} moves no weights")
        require(settings.stop_at >= 0, settings, "stop_at", "an epoch, at least 0")
    if settings.mask_from is None:
        require(settings.init_from is None, settings, "init_from", "left out without --mask_from")
    if settings.resume and settings.overwrite:
        raise ValueError("Pass --resume to go on with a run or --overwrite to start it again. Received: both.")


def _check_last_layer(settings: "Settings", method: Method) -> None:
    name = "last_layer_at_least"
    is_drawn = method.kernels == "sparse" and settings.mask_from is None
    require(is_drawn, settings, name, f"left out: no mask of layers is drawn for it by --method={settings.method}")
    is_alone = settings.distribution == "uniform" and settings.pattern == "element"
    require(is_alone, settings, name, "left out beside --distribution and --pattern")
    is_number = 1 <= settings.last_layer_at_least <= LARGEST_STEP
    require(is_number, settings, name, f"a number of weights, from 1 to {LARGEST_STEP}")


def require(condition: bool, settings: "Settings", name: str, expected: str) -> None:
    """Raise `ValueError` that names a flag, what was expected and what was received, unless the condition holds."""
    if not condition:
        raise ValueError(f"--{name} must be {expected}. Received: --{name}={getattr(settings, name)}")


def _is_pattern(text: str) -> bool:
    try:
        check_pattern(pattern_of(text), "Settings")
    except ValueError:
        return False
    return True
