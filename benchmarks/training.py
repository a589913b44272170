"""What the benchmarks of training steps share: the networks, and a timer of steps of `fit`."""

import functools
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

import keras_dsr as dsr
import models
from train.experiment.precision import computing_in

# Whether a step can be compiled by XLA, by backend; the usual choice first. JAX without it runs operation by operation.
COMPILING = {"tensorflow": ("no", "yes"), "jax": ("yes",), "torch": ("no",)}
BUILDERS = {
    "lenet_300_100": models.lenet_300_100,
    "wide_resnet": models.wide_resnet,
    "resnet_50": models.resnet_50,
}
WEIGHT_DECAY = {"lenet_300_100": 5e-4, "wide_resnet": 5e-4, "resnet_50": 1e-4}


def build(
    name: str,
    sparsity: float | None,
    jit_compile: bool | None = None,
    wrapped: Callable = lambda optimizer: optimizer,
    precision: str = "float32",
    **sizes,
) -> keras.Model:
    """The network, dense (`sparsity=None`) or with sparse layers, compiled with the paper's optimizer.

    Args:
        jit_compile: None: the usual choice of the backend.
        wrapped: from that optimizer to the one to compile with, such as a `SparseOptimizer` around it.
        precision: see `train.experiment.precision`.
        **sizes: arguments of the builder, such as `input_shape`.
    """
    layers = {"dense": keras.layers.Dense}
    if name != "lenet_300_100":
        layers["conv"] = keras.layers.Conv2D
    if name == "wide_resnet":
        del layers["dense"]  # its classifier is always dense
    if sparsity is not None:
        sparse = {"conv": dsr.SparseConv2D, "dense": dsr.SparseDense}
        layers = {kind: functools.partial(sparse[kind], sparsity=sparsity) for kind in layers}
    with computing_in(precision):
        # Keras's L2 has no half, the paper's weight decay has one.
        regularizer = keras.regularizers.L2(WEIGHT_DECAY[name] / 2)
        model = BUILDERS[name](**layers, kernel_regularizer=regularizer, **sizes)
    model.compile(
        wrapped(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=COMPILING[keras.backend.backend()][0] == "yes" if jit_compile is None else jit_compile,
    )
    return model


class Stopwatch(keras.callbacks.Callback):
    """Takes the time from the end of the first batch of an epoch to the end of its last. List it last.

    A batch ends when its loss is known on the host. Keras waits for that before the next batch begins where another
    callback asks for every batch; where none does, the device has the next one already, and this does not change it.
    """

    async_safe = True

    def on_epoch_begin(self, epoch, logs=None):
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    def seconds_a_step(self) -> float:
        return (max(self.ends) - min(self.ends)) / (len(self.ends) - 1)


class Repeated(keras.utils.PyDataset):
    """One batch again and again, without an end."""

    def __init__(self, batch: tuple):
        super().__init__()
        self._batch = batch

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return self._batch


def repeated(x: np.ndarray, y: np.ndarray):
    """A batch as data for `fit`, again and again. On JAX and torch it is on the device already."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.data.Dataset.from_tensors((x, y)).repeat()
    return Repeated((keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)))


def step_timer(model: keras.Model, batch_size: int, *callbacks: keras.callbacks.Callback) -> Callable[[int], float]:
    """A function of a number of steps that trains for so many, on a batch in memory, and returns the seconds of one."""
    x = np.random.default_rng(0).normal(size=(batch_size, *model.input_shape[1:])).astype("float32")
    data = repeated(x, np.arange(batch_size) % 10)
    stopwatch = Stopwatch()

    def seconds_a_step(steps: int) -> float:
        model.fit(data, steps_per_epoch=steps + 1, verbose=0, callbacks=[*callbacks, stopwatch])
        return stopwatch.seconds_a_step()

    seconds_a_step(2)
    return seconds_a_step


def interleaved(timers: dict[str, Callable[[int], float]], steps: int, rounds: int, show: Callable[[int], None]):
    """The seconds of a step by each timer, in each round, where each has its turn: first and last by turns.

    Args:
        steps: in a turn.
        show: is called with the number of each round that is over, from 1.

    Returns:
        A list of dicts.
    """
    results = []
    for index in range(rounds):
        results.append({name: timers[name](steps) for name in list(timers)[:: 1 if index % 2 else -1]})
        show(index + 1)
    return results


def ratios(rounds: list[dict], name: str, over: str) -> tuple[float, float, float]:
    """Median, least and largest of the rounds' ratios of one timer's time over another's."""
    values = [times[name] / times[over] for times in rounds]
    return statistics.median(values), min(values), max(values)


def median_of(rounds: list[dict], name: str) -> float:
    """The median of a timer's times."""
    return statistics.median(times[name] for times in rounds)
