"""The gradients of masked weights of layers, also where they are pruned, for a method that grows by them."""

from typing import cast

import keras

from keras_dsr.backend.dense_gradient import DenseGradient
from keras_dsr.backend.distribution import replicas, strategy_of
from keras_dsr.backend.keras_layers import walk
from keras_dsr.backend.keras_slots import scales_losses
from keras_dsr.backend.keras_training import renew_compiled_functions
from keras_dsr.layers.passed_back import GRADIENT
from keras_dsr.layers.recurrent import SparseCell, SparseRecurrent
from keras_dsr.methods.base import Method
from keras_dsr.weights.layer_gradients import LayerGradients


class MaskedGradients(LayerGradients):
    """What sparse layers with masks keep of the gradients that pass back to their weights, in a variable for each.

    Args:
        method, weights: as `LayerGradients`.
        model: that they lie in.
        optimizer: that trains them, if it is known.

    Raises:
        ValueError: a cell that Keras loops over, which reads its weights at every step of a sequence; several replicas
            of a `tf.distribute.Strategy`; or an optimizer that scales losses.
    """

    def __init__(self, method: Method, weights: dict, model: keras.Model, optimizer: keras.optimizers.Optimizer | None):
        super().__init__(method, weights)
        layers = [weight.layer for weight in weights.values()]
        self._check_cells(model)
        self._check_replicas()
        if scales_losses(optimizer):
            raise ValueError(
                f"{self._method} needs gradients where weights are pruned, and under a LossScaleOptimizer, such as "
                "that of mixed_float16, those that pass back to a sparse layer are multiplied by a scale that changes. "
                "Compile a model of stock layers with keras_dsr.SparseOptimizer, which sees them without it, or use "
                f"mixed_bfloat16. Received: {optimizer!r}"
            )
        has_changed = False
        for layer in layers:
            if GRADIENT not in layer.method_state:
                layer.add_state(GRADIENT, "float32")
                has_changed = True
        decay = cast(float, method.gradient_decay)
        for gradient in self._gradients:
            has_changed |= gradient.decay != decay
            gradient.begin(decay)
        if has_changed:  # what was traced does not know of it
            renew_compiled_functions(layers)

    def _check_cells(self, model: keras.Model) -> None:
        cells = {id(weight.layer) for weight in self._weights.values() if isinstance(weight.layer, SparseCell)}
        for layer, owners in walk(model):
            if id(layer) in cells and not any(isinstance(owner, SparseRecurrent) for owner in owners):
                raise ValueError(
                    f"{self._method} needs gradients where weights are pruned, and the cell {layer.name!r} lies in a "
                    "layer of Keras that reads it at every step of a sequence: a layer that reads its weights once, "
                    f"such as {type(layer).__name__.removesuffix('Cell')}, sees them. Received: "
                    f"{type(layer).__name__} in {' in '.join(type(owner).__name__ for owner in reversed(owners))}."
                )

    def _check_replicas(self) -> None:
        with strategy_of(next(iter(self._weights.values())).variable):
            number = replicas()
        if number > 1:
            raise ValueError(
                f"{self._method} needs gradients where weights are pruned, and in a tf.distribute.Strategy each sparse "
                "layer sees those of its own examples alone. Compile a model of stock layers with "
                "keras_dsr.SparseOptimizer, which sees their sum, use SET or DSR, or train on one device. Received: "
                f"{number} replicas."
            )

    @property
    def _gradients(self) -> list[DenseGradient]:
        return [weight.layer.passed_back[weight.role].seen for weight in self._weights.values()]

    def take(self) -> dict[int, tuple]:
        passes, batches = max(gradient.take_passes() for gradient in self._gradients), self._batches
        self._batches = 0
        if not passes:
            raise RuntimeError(
                f"{self._method} grows weights where gradients are largest, and none has passed back to a sparse layer "
                f"such as that of {self._name!r} since training began or weights were moved. Expected: a reallocation "
                "after a step of training. Nothing was changed."
            )
        if batches and passes > batches:
            raise self._ambiguous(f"gradients passed {passes} times in {batches} batches")
        return {}

    def settle(self) -> None:
        for gradient in self._gradients:
            gradient.settle()
