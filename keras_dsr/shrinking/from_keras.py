"""What a call of a Keras layer does to channels: from layers to the steps of the analysis."""

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from keras_dsr.backend.keras_graph import Call, Graph, has_mask, is_own_operation, plainly_called
from keras_dsr.shrinking.analysis import Network
from keras_dsr.shrinking.channel_rules import (
    Barrier,
    Channelwise,
    Concatenation,
    Constants,
    Flattening,
    Join,
    Linear,
    Step,
    unknown,
)

ELEMENTWISE = {
    *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "log_sigmoid"),
    *("hard_sigmoid", "hard_silu", "tanh", "hard_tanh", "tanh_shrink", "softplus", "softsign", "squareplus"),
    *("exponential", "threshold", "soft_shrink", "hard_shrink", "sparse_plus", "sparse_sigmoid"),
}
IDENTITIES = {  # at inference, on a channel that is constant
    *(layers.Identity, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D),
    *(layers.AlphaDropout, layers.GaussianDropout, layers.GaussianNoise, layers.ActivityRegularization),
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    *(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D),
    *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D, layers.RepeatVector),
}
PADDINGS = {layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D}
CONVOLUTIONS = {layers.Conv1D, layers.Conv2D, layers.Conv3D}
DEPTHWISE = {layers.DepthwiseConv1D, layers.DepthwiseConv2D}
JOINS: dict[type, Callable[[np.ndarray], Constants]] = {
    layers.Add: functools.partial(np.sum, axis=0),
    layers.Subtract: lambda values: values[0] - values[1],
    layers.Average: functools.partial(np.mean, axis=0),
    layers.Multiply: lambda values: np.where((values == 0).any(axis=0), 0, np.prod(values, axis=0)),
    layers.Maximum: functools.partial(np.max, axis=0),
    layers.Minimum: functools.partial(np.min, axis=0),
}
# The same in a model that is written with `+` and `keras.ops`: its graph holds operations, known by their names.
JOIN_OPERATIONS = {kind.__name__: combine for kind, combine in JOINS.items() if kind is not layers.Average}
ELEMENTWISE_OPERATIONS = {
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Celu", "Selu", "Gelu", "Silu", "Sigmoid", "LogSigmoid", "HardSigmoid"),
    *("HardSilu", "Tanh", "HardTanh", "Softplus", "Softsign", "Exp", "Negative", "Square", "Absolute"),
}


def read(graph: Graph) -> Network:
    """The steps of a graph; a call of a layer that is not known becomes a `Barrier`."""
    sizes = [_channels(tensor) for tensor in graph.tensors]
    steps = [_step(call, [graph.tensors[index] for index in call.inputs], graph, sizes) for call in graph.calls]
    return Network(sizes, steps, graph.inputs, graph.outputs)


def _channels(tensor) -> int:
    return (tensor.shape[-1] or 0) if len(tensor.shape) > 1 else 0


def _step(call: Call, tensors: list, graph: Graph, sizes: list[int]) -> Step:
    layer, edges = call.layer, (call.inputs, call.outputs)
    plain = plainly_called(call.node) and all(sizes[index] for index in (*call.inputs, *call.outputs))
    last = getattr(layer, "data_format", None) != "channels_first"
    step = None
    if plain and last and not (call.shared and _is_fitted(layer)):
        step = _looked_through(layer, tensors, graph.tensors[call.outputs[0]], edges)
    return step or Barrier(*edges, tuple(tuple(sizes[index] for index in of_edge) for of_edge in edges))


def _is_fitted(layer) -> bool:
    """Whether a layer is made anew to fit what is kept at one call of it."""
    return bool(layer.weights) or isinstance(layer, layers.Reshape | layers.Add)


def _looked_through(layer, tensors: list, output, edges) -> Step | None:
    """The step of a layer that is known; None: it is not, or not in this form."""
    kind, size = type(layer), tensors[0].shape[-1]
    if not isinstance(layer, layers.Layer):
        return _operation(layer, tensors, edges)
    if kind is layers.Dense or kind in CONVOLUTIONS:
        return _linear(layer, edges)
    if kind in DEPTHWISE:
        return _depthwise(layer, edges)
    if kind is layers.BatchNormalization:
        return _batch_normalization(layer, len(tensors[0].shape), edges)
    if kind in (layers.ReLU, layers.LeakyReLU, layers.ELU):
        return Channelwise(*edges, size, functools.partial(_evaluated, layer.call, layer.compute_dtype))
    if kind is layers.Activation:
        return Channelwise(*edges, size, _activation(layer)) if _activation(layer) else None
    if kind in IDENTITIES:
        return None if getattr(layer, "noise_shape", None) is not None else Channelwise(*edges, size, _identity)
    if kind in PADDINGS:
        return Channelwise(*edges, size, lambda values: np.where(values == 0, 0, np.nan))
    if kind in (layers.Flatten, layers.Reshape):
        return _reshaping(tensors[0].shape, output.shape, edges)
    if kind in JOINS or kind is layers.Concatenate:
        return _merging(layer, tensors, edges)
    return None


def _operation(operation, tensors: list, edges) -> Step | None:
    """The step of an operation of `keras.ops`."""
    name = type(operation).__name__
    if not is_own_operation(operation):
        return None
    if name in JOIN_OPERATIONS and len(tensors) == 2:
        return _join(tensors, JOIN_OPERATIONS[name], name == "Add", edges)
    if name in ELEMENTWISE_OPERATIONS:
        return Channelwise(
            *edges, tensors[0].shape[-1], functools.partial(_evaluated, operation.call, tensors[0].dtype)
        )
    return None


def _identity(values: Constants) -> Constants:
    return values


def _evaluated(function: Callable, dtype: str, values: Constants) -> Constants:
    """A function of Keras tensors at those values that are known; for layers of that dtype, as precisely."""
    result, known = unknown(len(values)), ~np.isnan(values)
    if known.any():
        precise = ops.convert_to_tensor(values[known], "float64" if dtype == "float64" else "float32")
        result[known] = ops.convert_to_numpy(function(precise))
    result[~np.isfinite(result)] = np.nan
    return result


def _activation(layer) -> Callable[[Constants], Constants] | None:
    """What the activation of a layer does to constants; None: it is not known to act on each element by itself."""
    if layer.activation in (None, keras.activations.linear):
        return _identity
    if not _is_elementwise(layer.activation):
        return None
    return functools.partial(_evaluated, layer.activation, layer.compute_dtype)


def _is_elementwise(activation) -> bool:
    name = getattr(activation, "__name__", None)
    return name in ELEMENTWISE and activation is keras.activations.get(name)


def _is_plain(layer) -> bool:
    """Whether a layer computes with its kernel as it is."""
    return getattr(layer, "quantization_mode", None) is None and not getattr(layer, "lora_enabled", False)


def _array(variable) -> np.ndarray:
    return ops.convert_to_numpy(variable).astype("float64")


def _pads(layer) -> bool:
    """Whether zeros come into a convolution at the edges."""
    return layer.padding != "valid" and math.prod(layer.kernel_size) > 1


def _bias(layer, size: int) -> np.ndarray:
    return np.zeros(size) if layer.bias is None else _array(layer.bias)


def _linear(layer, edges) -> Linear | None:
    if not _is_plain(layer) or getattr(layer, "groups", 1) > 1:
        return None
    kernel = _array(layer.kernel)
    window = kernel.reshape(-1, *kernel.shape[-2:])
    folds = isinstance(layer, layers.Dense) or not _pads(layer)
    bias = _bias(layer, kernel.shape[-1])
    return Linear(*edges, window.sum(axis=0), (window != 0).any(axis=0), bias, folds, _activation(layer))


def _depthwise(layer, edges) -> Channelwise | None:
    activate = _activation(layer)
    if layer.depth_multiplier != 1 or activate is None or not _is_plain(layer):
        return None
    kernel = _array(layer.kernel)
    size = kernel.shape[-2]
    window = kernel.reshape(-1, size)
    sums, blind, bias, pads = window.sum(axis=0), (window == 0).all(axis=0), _bias(layer, size), _pads(layer)

    def apply(values: Constants) -> Constants:
        folded = np.where(pads & (values != 0), np.nan, values)
        return activate(np.where(blind, bias, folded * sums + bias))

    return Channelwise(*edges, size, apply, blind)


def _batch_normalization(layer, rank: int, edges) -> Channelwise | None:
    if layer.axis not in (-1, rank - 1) or layer.renorm:
        return None
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    gamma = np.ones_like(mean) if layer.gamma is None else _array(layer.gamma)
    beta = np.zeros_like(mean) if layer.beta is None else _array(layer.beta)
    scale, blind = gamma / np.sqrt(variance + layer.epsilon), gamma == 0

    def apply(values: Constants) -> Constants:
        return np.where(blind, beta, (values - mean) * scale + beta)

    return Channelwise(*edges, len(mean), apply, blind)


def _reshaping(before: tuple, after: tuple, edges) -> Step | None:
    """Reshaping that takes all axes into one, or leaves the channel axis as it is."""
    size, positions = before[-1], before[1:-1]
    if len(after) == 2 and None not in positions:
        return Flattening(*edges, math.prod(positions), size)
    return Channelwise(*edges, size, _identity) if after[-1] == size else None


def _merging(layer, tensors: list, edges) -> Step | None:
    if not isinstance(layer, layers.Concatenate):
        return _join(tensors, JOINS[type(layer)], isinstance(layer, layers.Add), edges)
    if layer.axis in (-1, len(tensors[0].shape) - 1):
        return Concatenation(*edges, tuple(one.shape[-1] for one in tensors))
    return _join(tensors, _the_same, False, edges)


def _the_same(values: np.ndarray) -> Constants:
    return np.where((values == values[0]).all(axis=0), values[0], np.nan)


def _join(tensors: list, combine: Callable[[np.ndarray], Constants], adds: bool, edges) -> Step | None:
    """The step of tensors of one rank and one number of channels; masked ones may be combined in another way."""
    shapes = {one.shape for one in tensors}
    masked = any(map(has_mask, tensors))
    if masked or len({(len(shape), shape[-1]) for shape in shapes}) > 1:
        return None
    alike = len(shapes) == 1 and None not in tensors[0].shape[1:]
    return Join(*edges, tensors[0].shape[-1], combine, adds=adds and alike)
