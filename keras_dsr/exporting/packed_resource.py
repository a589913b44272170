"""Weights of a SavedModel that are packed in its files, and unpacked once when it is loaded, by stock operations."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_dsr.backend.keras_export import track_in_file
from keras_dsr.exporting.csr import csr_matrix
from keras_dsr.exporting.packing import LONGEST, Packed


class UnpackedAtLoad(tf.saved_model.experimental.TrackableResource):
    """Packed tensors in a file, of which a loaded model holds one list, in a variable.

    Loaders restore the variables, then have resources initialized, which fills the list; so does TensorFlow Serving.
    The file has an empty list, and a model's functions capture the variable as any of theirs: it lives as long as one
    of them, also where the loaded object is gone, and each loaded copy of a file has its own. One list for all tensors
    and two variables for all that is packed, for loading takes its time by their number, and a file names each in many
    positions.

    Args:
        packed: the tensors, whose values are of one dtype.
        dtype: float, of the loaded tensors, to which the values are cast.
        as_csr: bool, whether what the list holds are matrices in CSR form, and never dense.
    """

    def __init__(self, packed: Sequence[Packed], dtype: tf.DType, as_csr: bool):
        super().__init__()
        self._packed = packed
        self._dtype = dtype
        self._as_csr = as_csr
        self._values = tf.Variable(np.concatenate([each.values for each in packed]), trainable=False, name="values")
        self._code = tf.Variable(np.concatenate([each.code for each in packed]), trainable=False, name="code")
        self._unpacked = tf.Variable(self._empty(), trainable=False, name="unpacked")
        for name in ("values", "code", "unpacked"):
            track_in_file(self, getattr(self, f"_{name}"), name)

    def read(self) -> list[tf.Tensor]:
        """The tensors, or CSR matrices, inside a function that is being traced. Nothing is copied when it runs."""
        held = tf.raw_ops.ReadVariableOp(resource=self._unpacked.handle, dtype=tf.variant)
        tensors = []
        for index, packed in enumerate(self._packed):
            shape, dtype = ([], tf.variant) if self._as_csr else (packed.shape, self._dtype)
            tensors.append(
                tf.raw_ops.TensorListGetItem(
                    input_handle=held, index=index, element_shape=tf.constant(shape, tf.int32), element_dtype=dtype
                )
            )
        return tensors

    def _create_resource(self):
        # The handle of nothing: TensorFlow asks for one, and it is the initializing alone that is needed.
        return tf.raw_ops.VarHandleOp(dtype=tf.variant, shape=[])

    def _empty(self):
        return tf.raw_ops.EmptyTensorList(
            element_shape=-1, max_num_elements=-1, element_dtype=tf.variant if self._as_csr else self._dtype
        )

    def _initialize(self):
        held = self._empty()
        values = tf.split(self._values, [len(packed.values) for packed in self._packed])
        codes = tf.split(self._code, [len(packed.code) for packed in self._packed])
        for packed, own_values, code in zip(self._packed, values, codes):
            own_values = tf.cast(own_values, self._dtype)
            positions = _positions_of_gaps(code) if packed.is_gaps else _positions_of_bits(code)
            if self._as_csr:
                tensor = csr_matrix(own_values, positions, packed.shape)
            else:
                size = int(np.prod(packed.shape, dtype=np.int64))
                tensor = tf.scatter_nd(positions[:, None], own_values, tf.constant([size], tf.int64))
                tensor = tf.reshape(tensor, packed.shape)
            held = tf.raw_ops.TensorListPushBack(input_handle=held, tensor=tensor)
        tf.raw_ops.AssignVariableOp(resource=self._unpacked.handle, value=held)


# Functions, for a file holds a function once, and each call of it in a few bytes. They decode as `exporting.packing`.


@tf.function(input_signature=[tf.TensorSpec([None], tf.uint8)], autograph=False)
def _positions_of_gaps(code):
    is_number = code < LONGEST
    ends = tf.cumsum(tf.cast(code, tf.int64) + tf.cast(is_number, tf.int64))
    return tf.boolean_mask(ends, is_number) - 1


@tf.function(input_signature=[tf.TensorSpec([None], tf.uint8)], autograph=False)
def _positions_of_bits(code):
    bits = tf.bitwise.right_shift(code[:, None], np.arange(7, -1, -1, dtype="uint8"))
    return tf.where(tf.reshape(tf.bitwise.bitwise_and(bits, np.uint8(1)), [-1]) > 0)[:, 0]
