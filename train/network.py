"""Building and compiling the network of a run."""

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import keras

import keras_dsr as dsr
import models
from keras_dsr.layers import TiedKernel
from train.lottery import apply_masks, read_masks
from train.methods import METHODS, Method, pruning_period
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
        """The numbers that make the prunable kernels: active weights, shared values, or every weight of a dense one."""
        banks = [layer.bank.shape[0] for layer in self.prunable if isinstance(layer, TiedKernel)]
        return sum(self.active().values()) or sum(banks) or self.weights()


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
    method = METHODS[settings.method]
    build = functools.partial(NETWORKS[settings.model], input_shape=data.input_shape, classes=data.classes)
    build = functools.partial(build, width=settings.width, **({"depth": settings.depth} if settings.depth else {}))
    if method.kernels == "thin":
        build = functools.partial(build, width=models.thin_width(build, settings.sparsity))
    prunable = []
    constructors = _constructors(settings, method)
    accepted = inspect.signature(build).parameters.keys() & constructors.keys()
    model = build(
        **{name: _recorded(prunable, constructors[name]) for name in sorted(accepted)},
        # PyTorch's weight decay, which the paper uses, is the gradient of half the squared norm; L2 has no half.
        kernel_regularizer=keras.regularizers.L2(recipe.weight_decay / 2) if method.weight_decay else None,
    )
    if settings.distribution != "uniform" and method.kernels == "sparse" and not settings.mask_from:
        kernels = {id(layer.kernel) for layer in prunable}
        dense = [re.escape(v.path) for v in model.trainable_variables if id(v) not in kernels]
        dsr.sparsify(
            model,
            settings.sparsity,
            settings.distribution,
            exclude=dense,
            granularity=settings.granularity,
            seed=settings.seed,
        )
    if settings.mask_from:
        apply_masks(dsr.sparse_weights(model), read_masks(settings.mask_from))
    metrics = ["accuracy"]
    if data.classes >= 100:
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5_accuracy"))
    rates = learning_rates(recipe, settings.epochs, steps, method.rounds)
    optimizer = keras.optimizers.SGD(rates, momentum=0.9, nesterov=True)
    if method.kernels == "wrapped":
        kernels = [re.escape(layer.kernel.path) for layer in prunable]
        optimizer = dsr.SparseOptimizer(
            optimizer, settings.sparsity, select=kernels, distribution=settings.distribution, seed=settings.seed
        )
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=metrics,
        steps_per_execution=_steps_per_execution(method, recipe, settings.epochs, steps),
        # Measured on 2 CPU cores: XLA gains 10% of a step of LeNet, no more than its compilation costs.
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return Network(model, prunable)


def learning_rates(
    recipe: Recipe, epochs: int, steps: int, rounds: int = 1
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's learning rates, stretched to `epochs` epochs of `steps` steps, as a function of the step.

    Args:
        rounds: int, how many times the epochs go through them from the first to the last.
    """
    marks = [(start + round * recipe.epochs, rate) for round in range(rounds) for start, rate in recipe.learning_rates]
    first, *later = marks
    stretch = epochs / (recipe.epochs * rounds) * steps
    # Keras holds a value up to and including its boundary.
    boundaries = [round(start * stretch) - 1 for start, _ in later]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [first[1], *(rate for _, rate in later)])


def _steps_per_execution(method: Method, recipe: Recipe, epochs: int, steps: int) -> int:
    """As many steps as leave no reallocation late and no epoch with a step too many."""
    if method.every_step:
        return 1
    marks = recipe.rigl_period if method.kernels == "wrapped" else recipe.period
    periods = [int(period) for _, period in marks]
    if method.kernels == "full":
        periods = [pruning_period(recipe, epochs, steps)]
    return math.gcd(recipe.steps_per_execution, steps, *periods)


def _constructors(settings, method: Method) -> dict[str, Callable]:
    """What builds the layers that the paper makes sparse, by the argument of the builder that takes it."""
    begins_with_stock_layers = settings.distribution != "uniform" and method.kernels == "sparse"
    if method.kernels in ("dense", "thin", "wrapped") or (begins_with_stock_layers and not settings.mask_from):
        return {"conv": keras.layers.Conv2D, "dense": keras.layers.Dense}
    if method.kernels == "tied":
        conv, dense, arguments = dsr.TiedConv2D, dsr.TiedDense, {"budget": 1 - settings.sparsity}
    else:
        has_all = method.kernels == "full" or settings.mask_from
        conv, dense = dsr.SparseConv2D, dsr.SparseDense
        arguments = {"sparsity": 0.0 if has_all else settings.sparsity, "granularity": settings.granularity}
    return {"conv": functools.partial(conv, **arguments), "dense": functools.partial(dense, **arguments)}


def _recorded(record: list, constructor: Callable) -> Callable:
    """The constructor of layers, which also appends what it builds to `record`."""

    def build(*args, **kwargs):
        record.append(constructor(*args, **kwargs))
        return record[-1]

    return build


NETWORKS = {
    "lenet_300_100": models.lenet_300_100,
    "wide_resnet": models.wide_resnet,
    "resnet_50": models.resnet_50,
}
