"""Recurrent layers whose kernel and recurrent kernel have a fixed number of non-zero weights."""

from typing import ClassVar

import keras

from keras_dsr.layers.containers import MaskedContainer
from keras_dsr.layers.masked import MaskedLayer, Sparsity
from keras_dsr.ops.patterns import Pattern


class SparseCell(MaskedLayer):
    """A cell of a recurrent layer, with two kernels that are sparse by default."""

    initializers: ClassVar = {
        "kernel": "kernel_initializer",
        "recurrent_kernel": "recurrent_initializer",
        "bias": "bias_initializer",
    }


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseSimpleRNNCell(SparseCell, keras.layers.SimpleRNNCell):
    """`keras.layers.SimpleRNNCell` with sparse kernels of shapes `(inputs, units)` and `(units, units)`."""

    stock_class = keras.layers.SimpleRNNCell


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseLSTMCell(SparseCell, keras.layers.LSTMCell):
    """`keras.layers.LSTMCell` with sparse kernels of shapes `(inputs, 4 * units)` and `(units, 4 * units)`."""

    stock_class = keras.layers.LSTMCell


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseGRUCell(SparseCell, keras.layers.GRUCell):
    """`keras.layers.GRUCell` with sparse kernels of shapes `(inputs, 3 * units)` and `(units, 3 * units)`."""

    stock_class = keras.layers.GRUCell


class SparseRecurrent(MaskedContainer):
    """A recurrent layer with a sparse cell, whose weights it reads once a sequence.

    Args:
        *args: as the stock layer.
        sparsity, pattern, mask_seed, method_state, initial_scale: of its cell, see `MaskedLayer`.
        **kwargs: every other argument of the stock layer.
    """

    cell_class: ClassVar[type[MaskedLayer]]

    def __init__(
        self,
        *args,
        sparsity: Sparsity = 0.9,
        pattern: Pattern = "element",
        mask_seed: int | None = None,
        method_state: dict[str, str] | None = None,
        initial_scale: str = "dense",
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.cell.__class__ = self.cell_class
        self.cell.configure(sparsity, pattern, mask_seed, method_state, initial_scale)

    def inner_loop(self, *args, **kwargs):
        with self.cell.reading_once():  # not once a step of the sequence
            return super().inner_loop(*args, **kwargs)

    def get_config(self):
        return {**super().get_config(), **self.cell.sparse_config()}


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseSimpleRNN(SparseRecurrent, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` over a `SparseSimpleRNNCell`; its arguments, and those of `SparseDense`."""

    stock_class = keras.layers.SimpleRNN
    cell_class = SparseSimpleRNNCell


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseLSTM(SparseRecurrent, keras.layers.LSTM):
    """`keras.layers.LSTM` over a `SparseLSTMCell`; its arguments, and those of `SparseDense`.

    Example:

    >>> keras_dsr.SparseLSTM(64, sparsity={"kernel": 0.5, "recurrent_kernel": 0.9})
    """

    stock_class = keras.layers.LSTM
    cell_class = SparseLSTMCell


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseGRU(SparseRecurrent, keras.layers.GRU):
    """`keras.layers.GRU` over a `SparseGRUCell`; its arguments, and those of `SparseDense`."""

    stock_class = keras.layers.GRU
    cell_class = SparseGRUCell


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseBidirectional(MaskedContainer, keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` whose two directions may be sparse, each in its own way: both are in its config."""

    stock_class = keras.layers.Bidirectional

    def get_config(self):
        backward = keras.saving.serialize_keras_object(self.backward_layer)
        return {**super().get_config(), "backward_layer": backward}
