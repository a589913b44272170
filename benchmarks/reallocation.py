"""Time and memory of one DSR reallocation over all sparse tensors of a network, and how long until the first is done.

    python -m benchmarks.reallocation    # about 1 minute and 3 GB of memory on 2 cores; KERAS_BACKEND=jax or torch
    python -m benchmarks.reallocation --network=efficientnet    # EfficientNetB0; or a transformer of 12 layers

ResNet-50 is built as the paper has it (first convolution and shortcuts dense), the others by `sparsify`; at sparsity
0.9 with SGD and momentum. The target is the paper's 400,000 weights, of the others a tenth of the active ones. Weights
are set as trained ones would be (no two reallocations prune the same position), H settles for a few reallocations,
and then each timed one is followed by a small random change of the weights.
"""

import math
import resource
import statistics
import time

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.moving import take_a_step, timed
from benchmarks.training import build
from keras_dsr.weights.reallocation import Reallocation

FLAGS = flags.FLAGS
flags.DEFINE_enum("network", "resnet_50", ["resnet_50", "efficientnet", "transformer"], "Whose weights move.")
flags.DEFINE_integer("target", None, "Weights to prune and grow; by default as above.", lower_bound=1)
flags.DEFINE_integer("rounds", 9, "Timed reallocations.", lower_bound=1)
flags.DEFINE_integer("warm_up", 6, "Reallocations in which H settles, not timed.", lower_bound=1)


def peak_megabytes() -> float:
    """The largest resident set of this process so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def transformer(layers: int = 12, width: int = 128, heads: int = 4) -> keras.Model:
    """An encoder with pre-normalization, 6 kernels a layer."""
    x = inputs = keras.Input((16, width))
    for _ in range(layers):
        normal = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(heads, width // heads)(normal, normal)
        hidden = keras.layers.Dense(4 * width, activation="gelu")(keras.layers.LayerNormalization()(x))
        x = x + keras.layers.Dense(width)(hidden)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling1D()(x)))


def network(name: str, sparsity: float = 0.9) -> keras.Model:
    """The network at the given sparsity with SGD and momentum, built."""
    if name == "resnet_50":
        model = build(name, sparsity)
    else:
        model = keras.applications.EfficientNetB0(weights=None) if name == "efficientnet" else transformer()
        dsr.sparsify(model, sparsity, seed=1)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    rng = np.random.default_rng(0)
    model = network(FLAGS.network)
    target = FLAGS.target or (400_000 if FLAGS.network == "resnet_50" else 0.1)
    start = time.perf_counter()
    reallocate = Reallocation(model, dsr.methods.DSR(target=target, initial_threshold=1e-3))
    made = time.perf_counter() - start
    budget = int(reallocate.active().sum())
    take_a_step(model, rng)

    memory_before = peak_megabytes()
    first, _ = timed(reallocate)
    memory_after = peak_megabytes()
    for _ in range(FLAGS.warm_up):
        take_a_step(model, rng)
        reallocate()

    seconds, pruned = [], []
    for _ in range(FLAGS.rounds):
        take_a_step(model, rng)
        took, outcome = timed(reallocate)
        seconds.append(took)
        pruned.append(int(outcome.state["pruned"]))
    assert int(outcome.active.sum()) == budget

    table = Table("figure", "value", title=f"One DSR reallocation, {FLAGS.network}, {keras.backend.backend()}")
    table.add_row(
        "sparse tensors, positions",
        f"{len(reallocate.weights)}, {sum(math.prod(w.shape) for w in reallocate.weights):,}",
    )
    table.add_row("active weights (before, after)", f"{budget:,}, {int(outcome.active.sum()):,}")
    table.add_row("pruned and grown, median", f"{statistics.median(pruned):,.0f}")
    table.add_row(
        "seconds, median (min to max)", f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
    )
    table.add_row("until the first is done, s: made, called", f"{made:.1f}, {first:.1f}")
    table.add_row("peak extra memory, 10^6 bytes", f"{memory_after - memory_before:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
