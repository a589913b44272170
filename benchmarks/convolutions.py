"""Convolutional networks in compact storage against dense: part of `benchmarks.truly_sparse`."""

import functools
import math
import statistics
import time
from collections.abc import Iterator

import keras
import numpy as np
from rich.table import Table

import keras_dsr as dsr
import models
from benchmarks.moving import wait_for
from benchmarks.training import repeated
from keras_dsr.backend.plane_convolution import Convolution

# The builder of each network, and the size of its images.
NETWORKS = {
    "wide_resnet": (functools.partial(models.wide_resnet, 28, 2), 32),
    "wide_resnet_28_10": (functools.partial(models.wide_resnet, 28, 10), 32),
    "resnet_50": (functools.partial(models.resnet_50, classes=10), 64),
}


def network(name: str, sparsity: float | None, channels_last: bool = True, optimizer="momentum") -> keras.Model:
    """A network, dense (`sparsity=None`) or with the convolutions in compact storage that the paper makes sparse."""
    build, size = NETWORKS[name]
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last" if channels_last else "channels_first")
    try:
        shape = (size, size, 3) if channels_last else (3, size, size)
        conv = keras.layers.Conv2D
        if sparsity is not None:
            conv = functools.partial(dsr.SparseConv2D, sparsity=sparsity, storage="compact", mask_seed=1)
        model = build(input_shape=shape, conv=conv)
    finally:
        keras.config.set_image_data_format(before)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True) if optimizer == "momentum" else optimizer
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=keras.backend.backend() == "jax")
    return model


def both_storages(data, method: str, sparsity: float, epochs: int, seed: int) -> Iterator[dict]:
    """Train WRN-10-1 masked and compact from equal weights and positions, epoch by epoch, on the same batches.

    Args:
        data: CIFAR-10, as `train.data.in_memory.load_data` reads it.
        method: `"rigl"`, which draws nothing (masked by `SparseOptimizer`), or `"dsr"`.
        sparsity: of each convolution but the first and the shortcuts.
        epochs: int.
        seed: int, of weights, positions and the order of images.

    Yields:
        For each epoch the fraction of positions that both have, and test accuracies.
    """
    trained = {}
    for storage in ("masked", "compact"):
        keras.utils.set_random_seed(seed)
        model = models.wide_resnet(10, 1)
        chosen = [layer for layer in model.layers if getattr(layer, "kernel_size", ()) == (3, 3)][1:]
        rate = keras.optimizers.schedules.CosineDecay(0.1, epochs * len(data.train_images) // 100)
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        if method == "rigl" and storage == "masked":
            optimizer = dsr.SparseOptimizer(optimizer, sparsity, select=chosen)
        else:
            dsr.sparsify(model, sparsity, include=chosen, exclude=_others(model, chosen), storage=storage, seed=seed)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
        trained[storage] = model
    pairs = list(zip(*(dsr.sparse_weights(model) for model in trained.values()), strict=True))
    for masked, compact in pairs:
        mask = np.zeros(masked.size, bool)
        mask[compact.positions()] = True
        masked.set_mask(mask.reshape(masked.shape))
        masked.variable.assign(compact.layer.kernel)
    rule = dsr.methods.RigL(end_step=10**6) if method == "rigl" else dsr.methods.DSR(target=0.1)
    callbacks = {storage: dsr.Reallocate(rule, period=100, seed=seed) for storage in trained}
    images, test_images = (
        ((each - np.array(data.mean)) / np.array(data.std)).astype("float32")
        for each in (data.train_images, data.test_images)
    )
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        accuracies = {}
        for storage, model in trained.items():
            given = {"batch_size": 100, "shuffle": False, "verbose": 0, "callbacks": [callbacks[storage]]}
            model.fit(images[order], data.train_labels[order], **given)
            accuracies[storage] = model.evaluate(test_images, data.test_labels, batch_size=500, verbose=0)[1]
        shared = sum(len(np.intersect1d(one.positions(), other.positions())) for one, other in pairs)
        yield {"epoch": epoch + 1, "shared": shared / sum(one.count() for one, _ in pairs), **accuracies}


def _others(model: keras.Model, chosen: list) -> list:
    return [layer for layer in model.layers if hasattr(layer, "kernel") and layer not in chosen]


class Clocks(keras.callbacks.Callback):
    """Takes the time from the end of the first batch to the end of the last: wall, and of all processors."""

    def on_train_begin(self, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append((time.perf_counter(), time.process_time()))

    def seconds_a_step(self) -> tuple[float, float]:
        wall, cpu = ((last - first) / (len(self.ends) - 1) for first, last in zip(self.ends[0], self.ends[-1]))
        return wall, cpu


def steps_table(name: str, batch_size: int, sparsities: list[float], rounds: int, steps: int) -> Table:
    """Milliseconds of a step of `fit`, wall and of all processors, the medians of rounds in turn."""
    layouts = [True] if keras.backend.backend() == "tensorflow" else [True, False]  # its CPU has channels last alone
    forms = [(None, last) for last in layouts] + [(sparsity, last) for sparsity in sparsities for last in layouts]
    rng = np.random.default_rng(0)
    runs = {}
    for sparsity, last in forms:
        model = network(name, sparsity, last)
        images = rng.normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
        data = repeated(images, np.arange(batch_size) % 10)
        model.fit(data, steps_per_epoch=2, verbose=0)
        runs[sparsity, last] = model, data
    times: dict = {form: [] for form in forms}
    for _ in range(rounds):
        for form, (model, data) in runs.items():
            clocks = Clocks()
            model.fit(data, steps_per_epoch=steps + 1, verbose=0, callbacks=[clocks])
            times[form].append(clocks.seconds_a_step())
    medians = {form: [statistics.median(each) * 1e3 for each in zip(*of_form)] for form, of_form in times.items()}
    best = [min(medians[None, last][which] for last in layouts) for which in (0, 1)]
    table = Table(title=f"A step of fit, {name}, batch {batch_size}, {keras.backend.backend()}")
    for column in ("sparsity", "channels", "ms", "CPU ms", "over dense", "by CPU"):
        table.add_column(column, justify="left" if column == "channels" else "right")
    for (sparsity, last), (wall, cpu) in medians.items():
        ratios = (f"{best[0] / wall:.2f} x", f"{best[1] / cpu:.2f} x")
        label = "dense" if sparsity is None else f"{sparsity:g}"
        table.add_row(label, "last" if last else "first", f"{wall:.0f}", f"{cpu:.0f}", *ratios)
    return table


class Ends(keras.callbacks.Callback):
    """Remembers when each batch has ended, for whoever stands before it in the list of callbacks too."""

    def on_train_begin(self, logs=None):
        self.ends = [time.perf_counter()]

    def on_train_batch_end(self, batch, logs=None):
        wait_for(self.model)
        self.ends.append(time.perf_counter())


def reallocations_table(name: str, batch_size: int, sparsity: float, rounds: int) -> Table:
    """Milliseconds of a step, of the one before a reallocation and of the reallocation, medians, in compact storage."""
    rules = {
        "DSR": dsr.methods.DSR(target=0.05),
        "SET": dsr.methods.SET(fraction=0.05),
        "RigL": dsr.methods.RigL(fraction=0.05, end_step=10**6),
    }
    table = Table(title=f"{name} at {sparsity:g}, batch {batch_size}, {keras.backend.backend()}, milliseconds")
    for column in ("method", "a step", "the step before", "a reallocation"):
        table.add_column(column, justify="left" if column == "method" else "right")
    period = 4
    for method, rule in rules.items():
        model = network(name, sparsity)
        images = np.random.default_rng(0).normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
        before, after = Ends(), Ends()
        callbacks = [before, dsr.Reallocate(rule, period=period), after]
        data = repeated(images, np.arange(batch_size) % 10)
        model.fit(data, steps_per_epoch=(rounds + 2) * period, verbose=0, callbacks=callbacks)
        steps = 1e3 * (np.array(before.ends[1:]) - np.array(after.ends[:-1])).reshape(rounds + 2, period)[2:]
        moves = 1e3 * (np.array(after.ends[1:]) - np.array(before.ends[1:])).reshape(rounds + 2, period)[2:]
        figures = np.median(steps[:, :-1]), np.median(steps[:, -1]), np.median(moves[:, -1])
        table.add_row(method, *(f"{figure:.0f}" for figure in figures))
    return table


def packing_table(name: str, batch_size: int, sparsity: float, rounds: int) -> Table:
    """What a step consists of, milliseconds: products, packing into planes and back, and the rest; medians, on torch.

    Packing is the time of the same convolutions with a single weight each.
    """
    model = network(name, sparsity)
    images = np.random.default_rng(0).normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
    calls: list = []
    forward = Convolution.forward

    def seen(convolution, inputs, values, structure):
        calls.append((convolution, values.copy(), structure))
        return forward(convolution, inputs, values, structure)

    model.train_on_batch(images, np.arange(batch_size) % 10)  # the first runs the network more than once
    Convolution.forward = seen
    try:
        model.train_on_batch(images, np.arange(batch_size) % 10)
    finally:
        Convolution.forward = forward
    step = _median(lambda: model.train_on_batch(images, np.arange(batch_size) % 10), rounds)
    whole = sum(_seconds_of_passes(*call, rounds) for call in calls)
    one = np.zeros((1, 2), "int32")
    packing = sum(_seconds_of_passes(c, np.ones(1, "float32"), c.structure(one, 1), rounds) for c, *_ in calls)
    table = Table(title=f"A step of {name} at {sparsity:g}, batch {batch_size}, milliseconds")
    for part in ("step", "convolutions", "of which packing", "the rest"):
        table.add_column(part, justify="right")
    table.add_row(*(f"{seconds * 1e3:.0f}" for seconds in (step, whole, packing, step - whole)))
    return table


def _seconds_of_passes(convolution: Convolution, values: np.ndarray, structure, rounds: int) -> float:
    """Forward and backward."""
    inputs, upstream = (np.ones(shape, "float32") for shape in (convolution.shape, convolution.output_shape))

    def passes():
        convolution.forward(inputs, values, structure)
        convolution.backward(inputs, upstream, values, structure)

    return _median(passes, rounds)


def _median(function, rounds: int) -> float:
    """Seconds of a call, after one that does not count."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bytes_of_training(name: str, sparsity: float | None, batch_size: int) -> int:
    """Train a network with Adam for two steps; the bytes of its variables, and of those of its optimizer."""
    model = network(name, sparsity, optimizer="adam")
    images = np.random.default_rng(0).normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
    model.fit(repeated(images, np.arange(batch_size) % 10), steps_per_epoch=2, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    return sum(math.prod(each.shape) * np.dtype(each.dtype).itemsize for each in variables)
