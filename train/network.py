"""Building and compiling the network of a run."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import keras

import keras_dsr as dsr
import models
from train.methods import METHODS
from train.recipes import Recipe


class Network(NamedTuple):
    """A compiled model, and the layers whose kernels the paper makes sparse (whether they are sparse here or not)."""

    model: keras.Model
    prunable: list[keras.layers.Layer]

    def weights(self) -> int:
        """How many weights the prunable kernels have places for."""
        return sum(math.prod(layer.kernel.shape) for layer in self.prunable)

    def active(self) -> dict[str, int]:
        """The number of active weights of each sparse kernel, by name, in the order of the model."""
        return {weight.name: weight.count() for weight in dsr.sparse_weights(self.model)}

    def active_weights(self) -> int:
        """The number of active weights of the prunable kernels: all of them, if they are dense."""
        return sum(self.active().values()) if self.active() else self.weights()


def build_network(settings, recipe: Recipe, data, steps: int) -> Network:
    """The compiled network of a run.

    Args:
        settings: resolved `Settings`.
        recipe: the recipe, for the optimizer.
        data: the data set, for `input_shape` and `classes`.
        steps: int, steps in an epoch.

    Raises:
        ValueError: what the builder refuses, such as a `depth` that is not 6n + 4.
    """
    prunable = []
    sparsity = settings.sparsity if METHODS[settings.method].sparse else None
    model = NETWORKS[settings.model](
        settings,
        conv=_recorded(prunable, dsr.SparseConv2D, keras.layers.Conv2D, sparsity),
        dense=_recorded(prunable, dsr.SparseDense, keras.layers.Dense, sparsity),
        input_shape=data.input_shape,
        classes=data.classes,
        # PyTorch's weight decay, which the paper uses, is the gradient of half the squared norm; L2 has no half.
        kernel_regularizer=keras.regularizers.L2(recipe.weight_decay / 2),
    )
    metrics = ["accuracy"]
    if data.classes >= 100:
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5_accuracy"))
    model.compile(
        keras.optimizers.SGD(learning_rates(recipe, settings.epochs, steps), momentum=0.9, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=metrics,
        # All numbers whole multiples of it: no reallocation comes late, no epoch takes a step too many.
        steps_per_execution=math.gcd(recipe.steps_per_execution, steps, *(int(period) for _, period in recipe.period)),
        # Measured on 2 CPU cores: XLA gains 10% of a step of LeNet, no more than its compilation costs.
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return Network(model, prunable)


def learning_rates(recipe: Recipe, epochs: int, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's learning rates, stretched to `epochs` epochs of `steps` steps, as a function of the step."""
    first, *later = recipe.learning_rates
    stretch = epochs / recipe.epochs * steps
    # Keras holds a value up to and including its boundary.
    boundaries = [round(start * stretch) - 1 for start, _ in later]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [first[1], *(rate for _, rate in later)])


def _recorded(record: list, sparse: Callable, plain: Callable, sparsity: float | None) -> Callable:
    """A constructor of layers, sparse unless `sparsity` is None, that appends what it builds to `record`."""
    constructor = plain if sparsity is None else functools.partial(sparse, sparsity=sparsity)

    def build(*args, **kwargs):
        record.append(constructor(*args, **kwargs))
        return record[-1]

    return build


def _lenet_300_100(settings, conv, **kwargs):
    return models.lenet_300_100(**kwargs)


def _wide_resnet(settings, dense, **kwargs):
    return models.wide_resnet(depth=settings.depth, width=settings.width, **kwargs)


def _resnet_50(settings, **kwargs):
    return models.resnet_50(**kwargs)


NETWORKS = {"lenet_300_100": _lenet_300_100, "wide_resnet": _wide_resnet, "resnet_50": _resnet_50}
