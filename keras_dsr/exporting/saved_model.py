"""A SavedModel with packed weights, which plain TensorFlow loads and serves."""

import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_dsr.backend.keras_export import input_signature_of, keep_variables
from keras_dsr.backend.keras_layers import kernel_of
from keras_dsr.exporting.csr_kinds import matrix_of
from keras_dsr.exporting.csr_layers import by_csr
from keras_dsr.exporting.packed_resource import UnpackedAtLoad
from keras_dsr.exporting.packing import Packed, pack

# Bytes that packing must save: unpacking a weight takes some 2,000 in the graph, once for loading and once for reading.
WORTHWHILE = 4_000


class PackedWeight(NamedTuple):
    """A weight of a model whose zeros are left out of the file."""

    variable: keras.Variable
    packed: Packed

    @property
    def dense_bytes(self) -> int:
        """Bytes of the dense tensor."""
        return int(np.prod(self.packed.shape)) * tf.as_dtype(self.variable.dtype).size


def pack_weights(model: keras.Model, dtype: str | None = None) -> list[PackedWeight]:
    """Pack the weights of a model of stock layers that are worth it, by their zeros, in the order of the model.

    Args:
        model: a built Keras model.
        dtype: `"float32"` or `"float16"`, in which packed values of more bytes are stored; None: as they are.

    Raises:
        ValueError: a value is too large for `dtype`.
    """
    weights = []
    for variable in {id(variable): variable for variable in model.variables}.values():
        if not tf.as_dtype(variable.dtype).is_floating:
            continue
        weight = PackedWeight(variable, pack(keras.ops.convert_to_numpy(variable)))
        if weight.dense_bytes - weight.packed.nbytes >= WORTHWHILE:
            weights.append(weight._replace(packed=_stored_as(weight.packed, dtype, variable)))
    return weights


def write_packed(
    model: keras.Model,
    path: pathlib.Path,
    weights: list[PackedWeight],
    csr_layers: list[keras.layers.Layer],
    input_signature=None,
) -> None:
    """Write a SavedModel as Keras's own `export` does, but with packed weights, and CSR products in some layers.

    Args:
        model: a built Keras model of stock layers.
        path: the folder to write.
        weights: what is packed, from `pack_weights`.
        csr_layers: layers (see `exporting.csr_kinds.is_product`) whose kernels are in `weights`, that multiply by CSR.
        input_signature: as in `keras.Model.export`.
    """
    layer_of_kernel = {id(kernel_of(layer)): layer for layer in csr_layers}
    packed_variables = {id(variable) for variable, _ in weights}
    unpacked = []  # resources, each with the variables or the layers that it serves
    for as_csr, dtype, stored in sorted({_kind(weight, layer_of_kernel) for weight in weights}):
        alike = [weight for weight in weights if _kind(weight, layer_of_kernel) == (as_csr, dtype, stored)]
        packed = [_transposed(weight) if as_csr else weight.packed for weight in alike]
        served = [layer_of_kernel[id(variable)] if as_csr else variable for variable, _ in alike]
        unpacked.append((UnpackedAtLoad(packed, tf.as_dtype(dtype), as_csr), served))

    def serve(*args, **kwargs):
        pairs = [pair for resource, served in unpacked for pair in zip(served, resource.read())]
        tensors = [(variable, tensor) for variable, tensor in pairs if isinstance(variable, keras.Variable)]
        matrices = {layer: tensor for layer, tensor in pairs if isinstance(layer, keras.layers.Layer)}
        with _NotingScope(tensors) as scope, by_csr(matrices):
            outputs = model(*args, **kwargs)
        for variable in scope.assigned.values():  # states that a call goes on from, as of a stateful LSTM
            variable.assign(scope.get_current_value(variable))
        return outputs

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, signature_of(model, input_signature))
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        # The variables of TensorFlow: of those of Keras, the file would hold a second copy.
        kept = [variable.value for variable in getattr(archive, name) if id(variable) not in packed_variables]
        keep_variables(archive, name, kept)
    for resource, _ in unpacked:
        archive.track(resource)
    archive.write_out(str(path), verbose=False)


class _NotingScope(keras.StatelessScope):
    """A scope in which variables have other values, that knows which of them were assigned to."""

    def __init__(self, state_mapping: list):
        super().__init__(state_mapping)
        self.assigned = {}

    def add_update(self, update: tuple) -> None:
        super().add_update(update)
        self.assigned[id(update[0])] = update[0]


def signature_of(model: keras.Model, input_signature=None) -> list:
    """The input signature of a model as Keras's `export` finds it, or as the caller gives it.

    Raises:
        ValueError: a subclassed model that was never called.
    """
    if input_signature is not None:
        return input_signature
    return input_signature_of(model)


def _stored_as(packed: Packed, dtype: str | None, variable: keras.Variable) -> Packed:
    if dtype is None or np.dtype(dtype).itemsize >= packed.values.dtype.itemsize:
        return packed
    with np.errstate(over="ignore"):
        values = packed.values.astype(dtype)
    if not np.array_equal(np.isfinite(values), np.isfinite(packed.values)):
        largest = np.abs(packed.values[np.isfinite(packed.values)]).max()
        raise ValueError(
            f"export(dtype={dtype!r}) cannot hold {variable.path!r}: its largest value is {largest:.6g}, and "
            f"{dtype} ends at {np.finfo(dtype).max:.6g}. Use dtype='float32', or scale the weights down."
        )
    return packed._replace(values=values)


def _kind(weight: PackedWeight, layer_of_kernel: dict) -> tuple[bool, str, str]:
    """What the weights of one resource have in common: whether they are for CSR, their dtype, and that of the file."""
    return id(weight.variable) in layer_of_kernel, weight.variable.dtype, weight.packed.values.dtype.name


def _transposed(weight: PackedWeight) -> Packed:
    """The matrix of a kernel transposed, its values stored as they are in the packed kernel."""
    matrix = matrix_of(keras.ops.convert_to_numpy(weight.variable))
    transposed = pack(np.ascontiguousarray(matrix.T))
    return transposed._replace(values=transposed.values.astype(weight.packed.values.dtype))
