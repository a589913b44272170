"""Weights of a SavedModel that are packed in its files, and unpacked once when it is loaded, by stock operations."""

import uuid
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_dsr.decisions.packing import LONGEST, Packed
from keras_dsr.products.csr import csr_matrix


class UnpackedAtLoad(tf.saved_model.experimental.TrackableResource):
    """Packed tensors in a file, of which a loaded model holds one list, in a variable that is on no checkpoint.

    Loaders restore the packed variables, then make the resource and have it initialized; so does TensorFlow Serving. A
    loader in Python gives each loaded copy of a file a resource of its own; in a session two copies share it, and hold
    the same. One resource for all tensors and two variables for all that is packed, for loading takes its time by their
    number, and a file names each in many places.

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
        self._shared_name = f"unpacked_{uuid.uuid4().hex}"  # unique among all models that a server may hold
        self._values = tf.Variable(np.concatenate([each.values for each in packed]), trainable=False, name="values")
        self._code = tf.Variable(np.concatenate([each.code for each in packed]), trainable=False, name="code")
        self._track_trackable(self._values, "values")
        self._track_trackable(self._code, "code")

    def read(self) -> list[tf.Tensor]:
        """The tensors, or CSR matrices, inside a function that is being traced. Nothing is copied when it runs."""
        held = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=tf.variant)
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
        return tf.raw_ops.VarHandleOp(dtype=tf.variant, shape=[], shared_name=self._shared_name)

    def _destroy_resource(self):
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle, ignore_lookup_error=True)

    def _initialize(self):
        held = tf.raw_ops.EmptyTensorList(
            element_shape=-1, max_num_elements=-1, element_dtype=tf.variant if self._as_csr else self._dtype
        )
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
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=held)


# Functions, for a file holds a function once, and each call of it in a few bytes. They decode as `decisions.packing`.


@tf.function(input_signature=[tf.TensorSpec([None], tf.uint8)], autograph=False)
def _positions_of_gaps(code):
    is_number = code < LONGEST
    ends = tf.cumsum(tf.cast(code, tf.int64) + tf.cast(is_number, tf.int64))
    return tf.boolean_mask(ends, is_number) - 1


@tf.function(input_signature=[tf.TensorSpec([None], tf.uint8)], autograph=False)
def _positions_of_bits(code):
    bits = tf.bitwise.right_shift(code[:, None], np.arange(7, -1, -1, dtype="uint8"))
    return tf.where(tf.reshape(tf.bitwise.bitwise_and(bits, np.uint8(1)), [-1]) > 0)[:, 0]
