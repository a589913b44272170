"""Which variables of a model `SparseOptimizer` makes sparse, by their names."""

import re
from collections.abc import Callable, Sequence

import keras

KERNEL_NAMES = ("kernel", "recurrent_kernel", "pointwise_kernel")

Select = None | str | Sequence[str] | Callable[[keras.Variable], bool]


def chosen_variables(variables: Sequence[keras.Variable], select: Select) -> list[keras.Variable]:
    """The variables that become sparse, in the order in which they are given.

    Args:
        variables: the trainable variables of a model.
        select: None for its kernels (see `is_kernel`); a regular expression or a list of them, for `re.fullmatch` on
            `variable.path`; or a function of the variable that returns a bool.

    Raises:
        ValueError: an expression that matches no path, or nothing chosen at all.
    """
    paths = [variable.path for variable in variables]
    if isinstance(select, str):
        select = [select]
    for pattern in select if isinstance(select, Sequence) else ():
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise _nothing(f"The expression {pattern!r} matches the path of no trainable variable", select, paths)
    chosen = selected_variables(variables, select)
    if not chosen:
        raise _nothing("No trainable variable was selected", select, paths)
    return chosen


def selected_variables(variables: Sequence[keras.Variable], select: Select) -> list[keras.Variable]:
    """As `chosen_variables`; none if nothing is chosen."""
    select = [select] if isinstance(select, str) else select
    return [variable for variable in variables if _is_chosen(variable, select)]


def is_kernel(variable: keras.Variable) -> bool:
    """What `select=None` makes sparse: kernels of rank 2 or more, by the last part of their path.

    Biases, normalization and embeddings are not, nor are depthwise kernels. Those are known by their shape alone, of
    rank 3 or more with a last dimension of 1: so a convolution with a single filter stays dense too, and a depthwise
    one with a `depth_multiplier` does not. Name the variables where this does not fit.
    """
    shape = tuple(variable.shape)
    is_depthwise = len(shape) >= 3 and shape[-1] == 1
    return variable.path.split("/")[-1] in KERNEL_NAMES and len(shape) >= 2 and not is_depthwise


def _is_chosen(variable, select) -> bool:
    if select is None:
        return is_kernel(variable)
    if callable(select):
        return bool(select(variable))
    return any(re.fullmatch(pattern, variable.path) for pattern in select)


def _nothing(what: str, select, paths: list[str]) -> ValueError:
    some = ", ".join(map(repr, paths[:8])) + (f", ... ({len(paths)} in all)" if len(paths) > 8 else "")
    return ValueError(
        f"{what}, so `SparseOptimizer` has nothing to make sparse there. Expected: SparseOptimizer(select=...) to be "
        "None (all kernels), regular expressions that match whole paths (`re.fullmatch`, such as '.*/kernel'), or a "
        f"function of the variable. Received: select={select!r}; the paths are {some}."
    )
