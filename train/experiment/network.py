"""Building and compiling the network of a run."""

import functools
import inspect
import math
import re
import typing
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import keras

import keras_dsr as dsr
import models
from keras_dsr.backend.distribution import replicas
from keras_dsr.backend.keras_layers import walk
from keras_dsr.layers import TiedKernel
from keras_dsr.layers.registry import SPARSE_CLASS_OF, SPARSE_CONTAINER_OF
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.ops.sparsity_distributions import largest_remainder
from train.experiment.pattern import pattern_of
from train.experiment.precision import computing_in
from train.methods import AtInitialization, Method, Plan
from train.recipes import Recipe
from train.storage.previous_run import apply_masks, read_masks


class Network(NamedTuple):
    """A compiled model, the layers whose kernels the paper makes sparse (whether they are sparse here or not), and the
    name of the figure by which it is judged."""

    model: keras.Model
    prunable: list[keras.layers.Layer]
    score: str

    def weights(self) -> int:
        """How many weights the prunable kernels have positions for."""
        return sum(math.prod(kernel.shape) for layer in self.prunable for kernel in kernels(layer))

    def active(self) -> dict[str, int]:
        """The number of active weights of each sparse kernel, by name, in the order of the model."""
        return {weight.name: weight.count() for weight in dsr.sparse_weights(self.model)}

    def active_weights(self) -> int:
        """The numbers that make the prunable kernels: active weights, shared values, or every weight of a dense one."""
        banks = [layer.bank.shape[0] for layer in self.prunable if isinstance(layer, TiedKernel)]
        return sum(self.active().values()) or sum(banks) or self.weights()


def kernels(layer: keras.layers.Layer) -> list:
    """What a layer multiplies its inputs with: its kernel, or those of a recurrent layer."""
    holder = getattr(layer, "cell", layer)
    return [getattr(holder, name) for name in ("kernel", "recurrent_kernel") if hasattr(holder, name)]


def build_network(plan: Plan, weighted_metrics: bool = False) -> Network:
    """The compiled network of a run.

    Args:
        plan: of the run.
        weighted_metrics: whether metrics heed the weights of examples.

    Raises:
        ValueError: the network is not for this data set or method, or what the builder refuses, such as a `depth` that
            is not 6n + 4.
    """
    recipe, settings, steps, data, method = plan.recipe, plan.settings, plan.steps, plan.data, plan.method
    _check_network(settings, method, data)
    build = functools.partial(NETWORKS[settings.model], **data.dimensions)
    sizes = {name: getattr(settings, name) for name in ("width", "depth", "dropout")}
    build = functools.partial(build, **{name: size for name, size in sizes.items() if size is not None})
    if method.kernels == "thin":
        build = functools.partial(build, width=models.thin_width(build, settings.sparsity))
    prunable = []
    with computing_in(settings.precision):
        model = build(
            **{name: _recorded(prunable, layer) for name, layer in _constructors(settings, method).items()},
            kernel_regularizer=method.regularizer(recipe.weight_decay),
        )
    prunable = _in_model(prunable, model)
    normalize_by_whole_batches(model, replicas() > 1)
    if method.kernels == "scored" or _begins_with_stock_layers(settings, method):
        _sparsify(model, prunable, settings, method, data)
    if settings.mask_from:
        apply_masks(dsr.sparse_weights(model), read_masks(settings.mask_from))
    rates = learning_rates(recipe, method.passes(settings.epochs), steps)
    optimizer = OPTIMIZERS[recipe.optimizer](rates, global_clipnorm=recipe.clip)
    if method.kernels == "wrapped":
        chosen = [re.escape(kernel.path) for layer in prunable for kernel in kernels(layer)]
        optimizer = dsr.SparseOptimizer(
            optimizer,
            settings.sparsity,
            select=chosen,
            distribution=settings.distribution,
            seed=settings.seed,
            pattern=pattern_of(settings.pattern),
        )
    model.compile(
        optimizer,
        loss=data.task.loss(),
        **{"weighted_metrics" if weighted_metrics else "metrics": data.task.metrics()},
        steps_per_execution=_steps_per_execution(plan),
        # Measured on 2 CPU cores: XLA gains TensorFlow 10% of a step of LeNet, no more than its compilation costs. JAX
        # without it runs each operation by itself.
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    return Network(model, prunable, data.task.score)


def _sparsify(model: keras.Model, prunable: list, settings, method: Method, data) -> None:
    """Make the layers of the paper sparse that were built as stock layers."""
    chosen_kernels = [kernel for layer in prunable for kernel in kernels(layer)]
    chosen = {id(kernel) for kernel in chosen_kernels}
    dense = [re.escape(v.path) for v in model.trainable_variables if id(v) not in chosen]
    pattern = pattern_of(settings.pattern)
    if method.kernels != "scored":
        distribution = settings.distribution
        if settings.last_layer_at_least is not None:
            distribution = _with_more_in_the_last(chosen_kernels, settings)
        dsr.sparsify(model, settings.sparsity, distribution, exclude=dense, pattern=pattern, seed=settings.seed)
        return
    scores = typing.cast(AtInitialization, method)
    ((inputs, targets),) = data.train(
        settings.seed, min(scores.examples, data.train_examples), 1, 0, 1
    ).as_numpy_iterator()
    model.compile(loss=data.task.loss())
    masks = dsr.masks_at_initialization(
        model, (inputs, targets), scores.worth, settings.sparsity, exclude=dense, pattern=pattern, seed=settings.seed
    )
    dsr.sparsify(model, mask=masks, exclude=dense, pattern=pattern)


def _with_more_in_the_last(kernels: Sequence[keras.Variable], settings) -> dict[str, float]:
    """The sparsity of each kernel by name: the budget of uniform sparsity, with so many weights in the last kernel."""
    sizes = [math.prod(kernel.shape) for kernel in kernels]
    counts = [active_units(size, settings.sparsity) for size in sizes]
    least, budget = settings.last_layer_at_least, sum(counts)
    if not least <= min(sizes[-1], budget - len(sizes) + 1):
        raise ValueError(
            f"--last_layer_at_least must be at most {min(sizes[-1], budget - len(sizes) + 1):,}: the last sparse layer "
            f"has {sizes[-1]:,} positions, and all {len(sizes)} share {budget:,} weights. Received: "
            f"--last_layer_at_least={least}"
        )
    last = max(counts[-1], least)
    others = [Fraction((budget - last) * size, sum(sizes[:-1])) for size in sizes[:-1]]
    counts = [*largest_remainder(others, budget - last), last]
    return {re.escape(kernel.path): 1 - count / size for kernel, size, count in zip(kernels, sizes, counts)}


def _begins_with_stock_layers(settings, method: Method) -> bool:
    is_drawn = method.kernels == "sparse" and not settings.mask_from
    return is_drawn and (settings.distribution != "uniform" or settings.last_layer_at_least is not None)


def normalize_by_whole_batches(model: keras.Model, across_replicas: bool) -> None:
    """Whether batch statistics are those of the batch of all replicas of a `tf.distribute.Strategy`, as on one device.

    Else each normalizes by its own part. A file of a model that does it across replicas loads on TensorFlow alone.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = across_replicas


def learning_rates(
    recipe: Recipe, passes: Sequence[float], steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's learning rates, gone through once or several times, as a function of the step.

    Args:
        recipe: the recipe.
        passes: epochs of each pass, to which the recipe's schedule is stretched or squeezed.
        steps: int, steps in an epoch.
    """
    marks = [
        (sum(passes[:index]) + start * length / recipe.epochs, rate)
        for index, length in enumerate(passes)
        for start, rate in recipe.learning_rates
    ]
    first, *later = marks
    # Keras holds a value up to and including its boundary.
    boundaries = [round(start * steps) - 1 for start, _ in later]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [first[1], *(rate for _, rate in later)])


def _steps_per_execution(plan: Plan) -> int:
    """As many steps as leave no reallocation late and no epoch with a step too many."""
    # Keras has no more than 1 on torch; over several replicas of a strategy TensorFlow fails in its loop of steps.
    if plan.method.every_step or keras.backend.backend() == "torch" or replicas() > 1:
        return 1
    periods = [period for _, period in plan.method.periods(plan)]
    return math.gcd(plan.recipe.steps_per_execution, plan.steps, *periods)


def _check_network(settings, method: Method, data) -> None:
    parameters = inspect.signature(NETWORKS[settings.model]).parameters
    unknown = data.dimensions.keys() - parameters.keys()
    if unknown:
        raise ValueError(
            f"--model={settings.model} is not for --dataset={settings.dataset}: the network has no "
            f"{', '.join(sorted(unknown))}, which follow from the data. Choose a recipe's pair of the two."
        )
    if "recurrent" in parameters and method.kernels in ("thin", "tied"):
        raise ValueError(
            f"--method={settings.method} is for networks of dense and convolutional layers. Received: "
            f"--model={settings.model}, which has recurrent ones."
        )


def _constructors(settings, method: Method) -> dict[str, Callable]:
    """What builds the layers that the paper makes sparse, by the argument of the builder that takes it."""
    parameters = inspect.signature(NETWORKS[settings.model]).parameters
    stock = {name: parameters[name].default for name in ("conv", "dense", "recurrent") if name in parameters}
    if method.kernels in ("dense", "thin", "wrapped", "scored") or _begins_with_stock_layers(settings, method):
        return stock
    if method.kernels == "tied":
        made, arguments = {"conv": dsr.TiedConv2D, "dense": dsr.TiedDense}, {"budget": 1 - settings.sparsity}
    else:
        has_all = method.kernels == "full" or settings.mask_from
        made = {name: {**SPARSE_CLASS_OF, **SPARSE_CONTAINER_OF}[layer] for name, layer in stock.items()}
        arguments = {"sparsity": 0.0 if has_all else settings.sparsity, "pattern": pattern_of(settings.pattern)}
    return {name: functools.partial(made[name], **arguments) for name in stock}


def _recorded(record: list, constructor: Callable) -> Callable:
    """The constructor of layers, which also appends what it builds to `record`."""

    def build(*args, **kwargs):
        record.append(constructor(*args, **kwargs))
        return record[-1]

    return build


def _in_model(built: list, model: keras.Model) -> list:
    """The layers that were built, as they are in the model: `Bidirectional` makes two of the one that it is given."""
    found = list(walk(model))
    there = {id(layer) for layer, _ in found}
    kinds = {type(layer) for layer in built if id(layer) not in there}
    copies = [
        layer for layer, owners in found if type(layer) in kinds and isinstance(owners[-1], keras.layers.Bidirectional)
    ]
    return [layer for layer in built if id(layer) in there] + copies


OPTIMIZERS = {
    None: functools.partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "adam": keras.optimizers.Adam,
}
NETWORKS = {
    "lenet_300_100": models.lenet_300_100,
    "lenet_5": models.lenet_5,
    "wide_resnet": models.wide_resnet,
    "alexnet": models.alexnet,
    "googlenet": models.googlenet,
    "vgg_16": models.vgg_16,
    "resnet_18": models.resnet_18,
    "resnet_50": models.resnet_50,
    "resnet_152": models.resnet_152,
    "squeezenet": models.squeezenet,
    "neural_talk": models.neural_talk,
    "deep_speech": models.deep_speech,
    "deep_speech_2": models.deep_speech_2,
    "hello_edge": models.hello_edge,
    "character_transformer": models.character_transformer,
}
