"""Turn sparse and tied layers into the stock Keras layers that they extend, in place, for good or for a while."""

import contextlib
from collections.abc import Iterator

import keras

from keras_dsr.decisions.units import mask_weights
from keras_dsr.seam.weights import sparse_layers, tied_layers


def strip(model: keras.Model) -> keras.Model:
    """Turn sparse and tied layers into their stock Keras layers, in place: the same network, free of keras_dsr.

    Dead weights are stored as exact zeros; outputs do not change. Masks are dropped, so training goes on dense. A
    compiled model keeps its optimizer; its training, test and prediction functions are traced again when next used.

    A tied layer gets a variable of its full kernel in place of its bank. The optimizer has no state for that variable,
    so a compiled model with tied layers gets a fresh optimizer of the same configuration, at iteration 0.

    Args:
        model: a built Keras model of any kind.

    Returns:
        The same model.

    Raises:
        ValueError: the model has not been built.

    Example:

    >>> keras_dsr.strip(model).save("plain.keras")
    """
    layers, tied = sparse_layers(model), tied_layers(model)
    for layer in tied:
        _untie(layer)
        del layer._index, layer._signs
    optimizer = getattr(model, "optimizer", None)
    if tied and optimizer is not None:
        model.optimizer = type(optimizer).from_config(optimizer.get_config())
        model.optimizer.build(model.trainable_variables)
    for layer in layers:
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
    tied = [(layer, type(layer)) for layer in tied_layers(model)]
    states, banks = [], []
    try:
        for layer, _ in tied:
            banks.append(_untie(layer))
        for layer, _ in layers:
            states.append(_to_stock(layer))
        yield model
    finally:
        for (layer, tied_class), bank in zip(tied, banks):
            layer.__class__ = tied_class
            _replace_kernel(layer, bank)
        for (layer, sparse_class), state in zip(layers, states):
            layer.__class__ = sparse_class
            layer.regularize(layer._kernel, layer.kernel_regularizer)
            layer._tracker.unlock()
            for variable in state.values():
                layer._track_variable(variable)
            layer._tracker.lock()


def _to_stock(layer) -> dict[str, keras.Variable]:
    """Clear the stored dead weights, swap the class, and take the state variables off the layer's list."""
    state = layer.state_variables
    layer._kernel.assign(mask_weights(keras.ops.convert_to_tensor(layer._kernel), layer.kernel_mask))
    layer._kernel.regularizer = layer.kernel_regularizer
    layer._tracker.unlock()
    for variable in state.values():
        layer._tracker.untrack(variable)
    layer._tracker.lock()
    layer.__class__ = layer.stock_class
    return state


def _untie(layer) -> keras.Variable:
    """Swap the class, and put a variable of the expanded kernel where the bank was; return the bank."""
    bank = layer.bank
    with layer._open_name_scope():
        kernel = keras.Variable(layer.kernel, dtype=bank.dtype, trainable=bank.trainable, name="kernel")
    kernel.regularizer = layer.kernel_regularizer
    _replace_kernel(layer, kernel)
    layer.__class__ = layer.stock_class
    return bank


def _replace_kernel(layer, variable: keras.Variable) -> None:
    """Have a variable take the kernel's place: in the attribute, and in the layer's list, whose order files follow."""
    replaced = layer._kernel
    layer._tracker.replace_tracked_value("trainable_variables", replaced, variable)
    layer._post_untrack_variable(replaced)
    layer._kernel = variable
    layer._post_track_variable(variable)
