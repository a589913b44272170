"""Time of a training step, sparse over dense, the two interleaved in one process.

    python -m benchmarks.step                        # about 8 minutes on 2 cores
    python -m benchmarks.step --model=lenet_300_100  # about 1 minute

Each round trains the dense model and the sparse one for the same number of steps of `fit`, in turn, on a fixed batch
that is already in memory; the sparse one with `DSRCallback`, between two of its reallocations. The ratio of a round is
sparse over dense; the median of the rounds is reported.
"""

import functools
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
import models

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("model", ["lenet_300_100", "wide_resnet"], ["lenet_300_100", "wide_resnet"], "Which networks.")
flags.DEFINE_multi_enum("jit_compile", ["no", "yes"], ["no", "yes"], "Without XLA, with it, or both.")
flags.DEFINE_integer("batch_size", 128, "Examples in a step.", lower_bound=1)
flags.DEFINE_integer("rounds", None, "Timed rounds; default: 41 of LeNet, 11 of WRN.", lower_bound=9)
flags.DEFINE_float("sparsity", 0.9, "Sparsity of the sparse model.")

STEPS_A_ROUND = {"lenet_300_100": 50, "wide_resnet": 1}  # short rounds: the speed of a shared machine drifts
ROUNDS = {"lenet_300_100": 41, "wide_resnet": 11}


def build(name: str, sparsity: float | None, jit_compile: bool) -> keras.Model:
    """The network, dense (`sparsity=None`) or sparse, compiled with the paper's optimizer."""
    regularizer = keras.regularizers.L2(2.5e-4)
    if name == "lenet_300_100":
        dense = functools.partial(dsr.SparseDense, sparsity=sparsity) if sparsity else keras.layers.Dense
        model = models.lenet_300_100(dense=dense, kernel_regularizer=regularizer)
    else:
        conv = functools.partial(dsr.SparseConv2D, sparsity=sparsity) if sparsity else keras.layers.Conv2D
        model = models.wide_resnet(conv=conv, kernel_regularizer=regularizer)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile,
    )
    return model


class Stopwatch(keras.callbacks.Callback):
    """Takes the time from the end of the first batch of an epoch to the end of its last."""

    def on_epoch_begin(self, epoch, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    def seconds_a_step(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def step_timer(model: keras.Model, batch_size: int):
    """A function of a number of steps that trains for so many and returns the seconds of one."""
    x = np.random.default_rng(0).normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
    y = np.arange(batch_size) % 10
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    stopwatch = Stopwatch()
    # As a user trains: with the callback, and no reallocation within the steps that are timed.
    callbacks = [dsr.DSRCallback(target=0.1, period=10**9)] if dsr.sparse_weights(model) else []

    def seconds_a_step(steps: int) -> float:
        model.fit(data, steps_per_epoch=steps + 1, verbose=0, callbacks=[*callbacks, stopwatch])
        return stopwatch.seconds_a_step()

    seconds_a_step(2)
    return seconds_a_step


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    table = Table(title=f"Training step, sparse over dense (batch {FLAGS.batch_size}, sparsity {FLAGS.sparsity})")
    for column in ("network", "jit_compile", "dense ms", "sparse ms", "ratio: median", "min", "max"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name in FLAGS.model:
        for jit_compile in (choice == "yes" for choice in FLAGS.jit_compile):
            timers = [
                step_timer(build(name, sparsity, jit_compile), FLAGS.batch_size) for sparsity in (None, FLAGS.sparsity)
            ]
            steps = STEPS_A_ROUND[name]
            count = FLAGS.rounds or ROUNDS[name]
            rounds = []
            for index in range(count):
                order = (0, 1) if index % 2 else (1, 0)
                times = {which: timers[which](steps) for which in order}
                rounds.append((times[0], times[1]))
                print(f"{name} jit_compile={jit_compile}: round {index + 1} of {count}", flush=True)
            ratios = [sparse / dense for dense, sparse in rounds]
            medians = [statistics.median(times) * 1e3 for times in zip(*rounds)]
            values = [f"{medians[0]:.2f}", f"{medians[1]:.2f}"]
            values += [f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f}", f"{max(ratios):.3f}"]
            table.add_row(name, str(jit_compile), *values)
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
