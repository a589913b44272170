"""What `shrink` takes away from a trained sparse network, and what that is worth in time.

    python -m train.run --model=lenet_300_100 --dataset=mnist --sparsity=0.99 --data_dir=DIR --out=runs/mnist99
    python -m benchmarks.shrink --run=runs/mnist99 --data_dir=DIR    # about a minute on 2 cores

The same for a convolutional network, whose slices move (without `--pattern=kernel` nothing can be removed from it):

    python -m train.run --model=wide_resnet --depth=16 --width=1 --dataset=cifar10 --sparsity=0.95 --target=0.1 \\
        --pattern=kernel --epochs=2 --steps_per_epoch=100 --data_dir=DIR --out=runs/cifar95

Prints what `shrink` reports; the parameters, zeros included, and the accuracy of the run's network and of the shrunk
one on the whole test set, and the largest difference of their outputs; and the time of a batch, of both, in turn in one
process, on a TensorFlow graph. The ratio of a round is the run's network over the shrunk one; medians over the rounds.

Expect, for the above: the 300 and 100 hidden units become 196 and 59, the 267,840 parameters 166,878, and the outputs
differ by rounding alone. The 784 inputs stay, though 244 of them have no weight.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

from keras_dsr.shrinking import shrink
from train.data.in_memory import load_data
from train.flags import quiet_libraries
from train.results.run_files import read_model
from train.storage.previous_run import read_origin

FLAGS = flags.FLAGS
flags.DEFINE_string("run", None, "Folder of a finished run of train.run on images.", required=True)
flags.DEFINE_string("data_dir", None, "Folder of prepared TensorFlow Datasets (where TFDS keeps them).")
flags.DEFINE_multi_integer("batch_size", [1, 32, 256], "Examples in a batch.", lower_bound=1)
flags.DEFINE_integer("rounds", 21, "Timed rounds.", lower_bound=9)
flags.DEFINE_float("seconds", 0.1, "Least time of one network in a round.", lower_bound=0.001)


def batch_timer(model: keras.Model, batch: np.ndarray) -> Callable[[], float]:
    """A function that returns the seconds that a batch takes, on average over a stretch of `--seconds`."""
    function = tf.function(lambda x: model(x, training=False), jit_compile=False)
    batch = tf.constant(batch)

    def seconds(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            outputs = function(batch)
        outputs.numpy()
        return (time.perf_counter() - start) / times

    seconds(3)
    times = max(1, round(FLAGS.seconds / seconds(3)))
    return lambda: seconds(times)


def compare_latency(stored: keras.Model, smaller: keras.Model, images: np.ndarray) -> Table:
    """The time of a batch of each size, of the two networks in turn."""
    table = Table(title="Time of a batch, ms")
    for column in ("batch", "run's network", "shrunk", "ratio: median", "min", "max"):
        table.add_column(column, justify="right")
    for size in FLAGS.batch_size:
        timers = [batch_timer(model, images[:size]) for model in (stored, smaller)]
        rounds = []
        for index in range(FLAGS.rounds):
            times = {which: timers[which]() for which in ((0, 1) if index % 2 else (1, 0))}
            rounds.append((times[0], times[1]))
        ratios = [before / after for before, after in rounds]
        medians = [statistics.median(times) * 1e3 for times in zip(*rounds)]
        values = [*(f"{median:.3f}" for median in medians)]
        values += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}", f"{max(ratios):.2f}"]
        table.add_row(str(size), *values)
    return table


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    settings = read_origin(FLAGS.run, "run")
    stored = read_model(Path(FLAGS.run) / "model.keras")
    report = shrink(stored)

    test = load_data(settings["dataset"], FLAGS.data_dir).test()
    images, labels = (np.concatenate(parts) for parts in zip(*test.as_numpy_iterator()))
    logits = [model.predict(images, batch_size=250, verbose=0) for model in (stored, report.model)]
    accuracies = [(of_model.argmax(axis=-1) == labels).mean() for of_model in logits]

    console = Console()
    console.print(str(report), highlight=False, markup=False, soft_wrap=True)
    table = Table("", "run's network", "shrunk", title=f"{settings['model']} on {settings['dataset']}, {len(images):,}")
    table.add_row("parameters, zeros included", *(f"{count:,}" for count in report.parameters))
    table.add_row("test accuracy", *(f"{accuracy:.2%}" for accuracy in accuracies))
    table.add_row("largest output", *(f"{np.abs(of_model).max():.3f}" for of_model in logits))
    table.add_row("largest difference", "", f"{np.abs(logits[0] - logits[1]).max():.2e}")
    console.print(table)
    console.print(compare_latency(stored, report.model, images))


if __name__ == "__main__":
    app.run(main)
