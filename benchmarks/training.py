"""What the benchmarks of training steps share: the networks, and a timer of steps of `fit`."""

import functools
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

import keras_dsr as dsr
import models


def build(
    name: str, sparsity: float | None, jit_compile: bool = False, wrapped: Callable = lambda optimizer: optimizer
) -> keras.Model:
    """The network, dense (`sparsity=None`) or with sparse layers, compiled with the paper's optimizer.

    Args:
        wrapped: from that optimizer to the one to compile with, such as a `SparseOptimizer` around it.
    """
    regularizer = keras.regularizers.L2(2.5e-4)
    if name == "lenet_300_100":
        dense = keras.layers.Dense if sparsity is None else functools.partial(dsr.SparseDense, sparsity=sparsity)
        model = models.lenet_300_100(dense=dense, kernel_regularizer=regularizer)
    else:
        conv = keras.layers.Conv2D if sparsity is None else functools.partial(dsr.SparseConv2D, sparsity=sparsity)
        model = models.wide_resnet(conv=conv, kernel_regularizer=regularizer)
    model.compile(
        wrapped(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    return model


class Stopwatch(keras.callbacks.Callback):
    """Takes the time from the end of the first batch of an epoch to the end of its last. List it last."""

    def on_epoch_begin(self, epoch, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    def seconds_a_step(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def step_timer(model: keras.Model, batch_size: int, *callbacks: keras.callbacks.Callback) -> Callable[[int], float]:
    """A function of a number of steps that trains for so many, on a batch in memory, and returns the seconds of one."""
    x = np.random.default_rng(0).normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
    y = np.arange(batch_size) % 10
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    stopwatch = Stopwatch()

    def seconds_a_step(steps: int) -> float:
        model.fit(data, steps_per_epoch=steps + 1, verbose=0, callbacks=[*callbacks, stopwatch])
        return stopwatch.seconds_a_step()

    seconds_a_step(2)
    return seconds_a_step
