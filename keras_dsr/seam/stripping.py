"""Turn sparse layers into the stock Keras layers that they extend, in place, for good or for a while."""

import contextlib
from collections.abc import Iterator

import keras

from keras_dsr.decisions.units import mask_weights
from keras_dsr.seam.weights import sparse_layers

_STATE = ("kernel_mask", "kernel_threshold")


def strip(model: keras.Model) -> keras.Model:
    """Turn every sparse layer into its stock Keras layer, in place: the same network with nothing of keras_dsr in it.

    Dead weights are stored as exact zeros; outputs do not change. Masks are dropped, so training goes on dense. A
    compiled model keeps its optimizer; its training, test and prediction functions are traced again when next used.

    Args:
        model: a built Keras model of any kind.

    Returns:
        The same model.

    Raises:
        ValueError: the model has not been built.

    Example:

    >>> keras_dsr.strip(model).save("plain.keras")
    """
    for layer in sparse_layers(model):
        for name in _to_stock(layer):
            setattr(layer, name, None)  # deleting a variable itself would collect garbage once for each
            delattr(layer, name)
    for function in ("train_function", "test_function", "predict_function"):
        if getattr(model, function, None) is not None:
            setattr(model, function, None)
    return model


@contextlib.contextmanager
def stripped(model: keras.Model) -> Iterator[keras.Model]:
    """The model with stock layers inside the `with` block, and as it was after it, also on an error."""
    layers = [(layer, type(layer)) for layer in sparse_layers(model)]
    states = []
    try:
        for layer, _ in layers:
            states.append(_to_stock(layer))
        yield model
    finally:
        for (layer, sparse_class), state in zip(layers, states):
            layer.__class__ = sparse_class
            layer.regularize(layer._kernel, layer.kernel_regularizer)
            layer._tracker.unlock()
            for variable in state.values():
                layer._track_variable(variable)
            layer._tracker.lock()


def _to_stock(layer) -> dict[str, keras.Variable]:
    """Clear the stored dead weights, swap the class, and take the state variables off the layer's list."""
    state = {name: getattr(layer, name) for name in _STATE}
    layer._kernel.assign(mask_weights(keras.ops.convert_to_tensor(layer._kernel), layer.kernel_mask))
    layer._kernel.regularizer = layer.kernel_regularizer
    layer._tracker.unlock()
    for variable in state.values():
        layer._tracker.untrack(variable)
    layer._tracker.lock()
    layer.__class__ = layer.stock_class
    return state
