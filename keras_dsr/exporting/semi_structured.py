"""Products by NVIDIA's sparse tensor cores, on torch: networks whose kernels are 2:4, where they are served."""

import functools

import keras

from keras_dsr.backend.keras_layers import walk
from keras_dsr.conversion import strip
from keras_dsr.ops.selection import count_in_each
from keras_dsr.weights.sparse_weights import check_has_weights

CAPABILITY = (8, 0)  # of the first GPUs that have them, Ampere
ROWS, COLUMNS = 32, 64  # of which outputs and inputs must be multiples, in float16 and bfloat16


def semi_structured(model: keras.Model) -> list[str]:
    """Have the `Dense` layers of a model whose kernels are 2:4 multiply by sparse tensor cores: to serve it on a GPU.

    The model is stripped of its masks (see `strip`), in place, and each of these layers gets a copy of its kernel as
    torch's `SparseSemiStructuredTensor`, which holds half of the numbers and their places. What is trained or assigned
    later does not reach that copy; saved files have the stock layers. Other layers stay as they are.

    A layer can do it if of every four neighbouring inputs of an output at most two have weights (`pattern="2:4"`), it
    computes in float16 or bfloat16 (`dtype="mixed_bfloat16"`), and its outputs are a multiple of 32, its inputs of 64.

    Args:
        model: a built Keras model, on torch and an NVIDIA GPU of compute capability 8.0 or more.

    Returns:
        The names of these layers.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: an unbuilt model, another backend or device, or no layer that can do it; then nothing has changed.

    Example:

    >>> keras_dsr.sparsify(model, sparsity=0.5, pattern="2:4", include=keras.layers.Dense)
    >>> model.fit(x, y, callbacks=[keras_dsr.Reallocate(keras_dsr.methods.SET(0.3), period=100)])
    >>> keras_dsr.semi_structured(model)
    ['dense', 'dense_1']
    """
    check_has_weights(model, "semi_structured", kind=keras.Model)
    _check_device()
    dense = list({id(layer): layer for layer, _ in walk(model) if isinstance(layer, keras.layers.Dense)}.values())
    obstacles = [obstacle(layer) for layer in dense]
    chosen = [layer for layer, why in zip(dense, obstacles) if why is None]
    if not chosen:
        reasons = "; ".join(f"{layer.name!r}: {why}" for layer, why in zip(dense, obstacles)) or "it has no Dense layer"
        raise ValueError(f"semi_structured(model=...) has no layer that sparse tensor cores can multiply. {reasons}.")
    strip(model)  # the layers are the same, of another class
    from torch.sparse import to_sparse_semi_structured

    for layer in chosen:
        object.__setattr__(layer, "call", functools.partial(call, layer, to_sparse_semi_structured(packable(layer))))
    return [layer.name for layer in chosen]


def obstacle(layer: keras.layers.Dense) -> str | None:
    """Why sparse tensor cores cannot multiply the kernel of a built layer; None: they can."""
    if layer.compute_dtype not in ("float16", "bfloat16"):
        return f"it computes in {layer.compute_dtype}, not in float16 or bfloat16"
    inputs, outputs = layer.kernel.shape
    if inputs % COLUMNS or outputs % ROWS:
        return f"it has {inputs} inputs and {outputs} outputs, which must be multiples of {COLUMNS} and {ROWS}"
    groups = keras.ops.reshape(keras.ops.transpose(keras.ops.convert_to_tensor(layer.kernel)), (-1, 4))
    if int(keras.ops.max(count_in_each(groups != 0))) > 2:
        return "of some four neighbouring inputs it has more than two weights: train it with pattern='2:4'"
    return None


def packable(layer: keras.layers.Dense):
    """What torch packs: the kernel, of shape `(outputs, inputs)`, in the dtype in which the layer computes."""
    kernel = keras.ops.cast(keras.ops.convert_to_tensor(layer.kernel), layer.compute_dtype)
    return kernel.detach().T.contiguous()


def call(layer: keras.layers.Dense, packed, inputs, training=None):
    """As `Dense.call`, by a packed kernel."""
    import torch

    rows = torch.nn.functional.linear(inputs.reshape(-1, inputs.shape[-1]), packed)
    outputs = rows.reshape(*inputs.shape[:-1], rows.shape[-1])
    if layer.use_bias:
        outputs = outputs + keras.ops.convert_to_tensor(layer.bias)
    return outputs if layer.activation is None else layer.activation(outputs)


def _check_device() -> None:
    needs = "semi_structured(...) needs Keras on torch and an NVIDIA GPU of compute capability 8.0 or more"
    if keras.backend.backend() != "torch":
        raise ValueError(
            f"{needs}. Received: the backend {keras.backend.backend()!r}. Set KERAS_BACKEND=torch, or write ONNX for "
            "TensorRT: keras_dsr.export(model, 'model.onnx')."
        )
    import torch

    there = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    if there is None or there < CAPABILITY:
        which = "no such GPU" if there is None else f"one of {there[0]}.{there[1]}"
        raise ValueError(f"{needs}. Received: {which}. On a CPU keras_dsr.export has formats that are faster there.")
