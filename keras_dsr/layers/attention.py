"""Attention whose projections have kernels with a fixed number of non-zero weights."""

import keras
import numpy as np

from keras_dsr.arguments import check_state, drawn_seed
from keras_dsr.backend.keras_layers import ATTENTION_PROJECTIONS
from keras_dsr.layers.containers import MaskedContainer
from keras_dsr.layers.dense import SparseEinsumDense
from keras_dsr.layers.initial_scale import check_initial_scale
from keras_dsr.layers.masked import Sparsity
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.initial_masks import check_sparsity, random_mask
from keras_dsr.ops.patterns import Pattern, check_pattern


class _SparseAttention(MaskedContainer):
    """Attention with sparse projections.

    Args:
        *args: as the stock layer.
        sparsity: float in [0, 1), of every projection's kernel; or a dict from projections (`"query"`, `"key"`,
            `"value"`, `"gate"`, `"attention_output"`) to what `SparseEinsumDense(sparsity=)` takes: others stay dense.
        pattern, mask_seed, method_state, initial_scale: as `SparseEinsumDense`.
        **kwargs: every other argument of the stock layer.
    """

    def __init__(
        self,
        *args,
        sparsity: float | dict[str, Sparsity] = 0.9,
        pattern: Pattern = "element",
        mask_seed: int | None = None,
        method_state: dict[str, str] | None = None,
        initial_scale: str = "dense",
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        owner = type(self).__name__
        if not isinstance(sparsity, dict):
            sparsity = dict.fromkeys(ATTENTION_PROJECTIONS, check_sparsity(sparsity, owner))
        elif unknown := [name for name in sparsity if name not in ATTENTION_PROJECTIONS]:
            raise ValueError(
                f"{owner}(sparsity=...) must name projections, of {', '.join(map(repr, ATTENTION_PROJECTIONS))}. "
                f"Received: {unknown[0]!r} in sparsity={sparsity!r}"
            )
        self._sparse_arguments = {
            "sparsity": {name: SparseEinsumDense.check_sparsity(value) for name, value in sparsity.items()},
            "pattern": check_pattern(pattern, owner),
            "mask_seed": drawn_seed(mask_seed, owner),
            "method_state": check_state(method_state, owner, "method_state"),
            "initial_scale": check_initial_scale(initial_scale, owner),
        }

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        arguments = self._sparse_arguments
        for index, (name, projection) in enumerate(self._projections().items()):
            if name not in arguments["sparsity"]:
                continue
            sparsity = arguments["sparsity"][name]
            masks = {
                role: _random_mask(projection, role, share, arguments["pattern"], [arguments["mask_seed"], index])
                for role, share in (sparsity if isinstance(sparsity, dict) else {"kernel": sparsity}).items()
            }
            SparseEinsumDense.convert(
                projection, masks, arguments["pattern"], arguments["mask_seed"], arguments["initial_scale"]
            )
            for state, dtype in arguments["method_state"].items():
                projection.add_state(state, dtype)

    def _projections(self) -> dict[str, keras.layers.EinsumDense]:
        found = {name: getattr(self, attribute, None) for name, attribute in ATTENTION_PROJECTIONS.items()}
        return {name: projection for name, projection in found.items() if projection is not None}

    def get_config(self):
        sparse = {
            name: projection.sparse_config()
            for name, projection in self._projections().items()
            if isinstance(projection, SparseEinsumDense)
        }
        if not sparse:
            return {**super().get_config(), **self._sparse_arguments}
        first = next(iter(sparse.values()))
        return {**super().get_config(), **first, "sparsity": {name: part["sparsity"] for name, part in sparse.items()}}


def _random_mask(
    projection: keras.layers.EinsumDense, role: str, sparsity: float, pattern: Pattern, seed: list[int]
) -> np.ndarray:
    shape = tuple(getattr(projection, role).shape)
    units = units_of(projection, role, shape, pattern)
    return random_mask(shape, units.number_at(units.count(shape), sparsity), units, seed)


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseMultiHeadAttention(_SparseAttention, keras.layers.MultiHeadAttention):
    """`keras.layers.MultiHeadAttention` with sparse projections; its arguments, and those of `SparseDense`.

    Example:

    >>> keras_dsr.SparseMultiHeadAttention(8, 64, sparsity={"query": 0.9, "key": 0.9, "attention_output": 0.8})
    """

    stock_class = keras.layers.MultiHeadAttention


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseGroupQueryAttention(_SparseAttention, keras.layers.GroupQueryAttention):
    """`keras.layers.GroupQueryAttention` with sparse projections; as `SparseMultiHeadAttention`."""

    stock_class = keras.layers.GroupQueryAttention
