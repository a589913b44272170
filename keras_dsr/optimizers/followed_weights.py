"""Masks that follow weights which were set from outside: those of another epoch, or of a file."""

import functools

from keras import ops

from keras_dsr.backend.keras_slots import has_value
from keras_dsr.backend.tracing import writes_in_branches
from keras_dsr.ops.masking import followed_mask, is_outside
from keras_dsr.ops.selection import count_true


class FollowsWeights:
    """Mixin for `SparseOptimizer`, whose model computes with all that its variables hold."""

    def follow_weights(self) -> None:
        """Where weights were set from outside at pruned positions, have the masks follow them.

        The model computes with all that its variables hold, so weights that `EarlyStopping(restore_best_weights=True)`
        or `set_weights` put back would be cut by the next step. Every step calls this first.

        Where there are more of them than the budget of a variable, its mask stays, and `check_budget` says so.
        """
        sparse_variables = self._trained
        if not sparse_variables:
            return
        weights = [ops.convert_to_tensor(sparse.variable) for sparse in sparse_variables]
        masks = [ops.convert_to_tensor(sparse.mask) for sparse in sparse_variables]
        is_due = functools.reduce(ops.logical_or, map(is_outside, weights, masks))
        overfull = ops.convert_to_tensor(self._overfull)

        def followed() -> tuple:
            pairs = [followed_mask(weight, mask) for weight, mask in zip(weights, masks)]
            excess = [values - count_true(mask) for (_, values), mask in zip(pairs, masks)]
            return [mask for mask, _ in pairs], functools.reduce(ops.maximum, excess, overfull)

        def write(masks: list, overfull) -> None:
            for sparse, mask in zip(sparse_variables, masks):
                sparse.mask.assign(mask)
            self._overfull.assign(overfull)

        if writes_in_branches():  # else nothing is written, which takes time
            ops.cond(is_due, lambda: write(*followed()), lambda: None)
        else:
            write(*ops.cond(is_due, followed, lambda: (masks, overfull)))

    def check_budget(self) -> None:
        """Raise `ValueError`, once, if a step found more weights than the budget of a variable.

        A compiled step cannot raise: `fit` does when it ends, and a method when it begins.
        """
        excess = int(ops.convert_to_numpy(self._overfull)) if self.built and has_value(self._overfull) else 0
        if excess:
            self._overfull.assign(0)
            raise ValueError(
                f"Weights were set from outside at pruned positions of variables that {self.name!r} keeps sparse, in "
                f"one of them {excess:,} more than its budget: training cuts them to the mask that there was. Set "
                "weights of the same sparsity, or compile the model with a new SparseOptimizer, whose mask='magnitude' "
                "keeps the largest."
            )
