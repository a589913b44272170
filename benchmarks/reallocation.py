"""Time and memory of one DSR reallocation over the 49 sparse tensors of ResNet-50 (22,724,608 places).

    python -m benchmarks.reallocation    # about 1 minute and 3 GB of memory on 2 cores; KERAS_BACKEND=jax or torch

The network is built as the paper has it (first convolution and shortcuts dense) at sparsity 0.9 with SGD and momentum;
the target is the paper's 400,000 weights. Weights are set as trained ones would be (no two reallocations prune the same
place), H settles for a few reallocations, and then each timed one is followed by a small random change of the weights.
"""

import math
import resource
import statistics

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
flags.DEFINE_integer("target", 400_000, "Weights to prune and grow.", lower_bound=1)
flags.DEFINE_integer("rounds", 9, "Timed reallocations.", lower_bound=1)
flags.DEFINE_integer("warm_up", 6, "Reallocations in which H settles, not timed.", lower_bound=1)


def peak_megabytes() -> float:
    """The largest resident set of this process so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def resnet(sparsity: float = 0.9) -> keras.Model:
    """ResNet-50 at the given sparsity with the paper's optimizer, built."""
    model = build("resnet_50", sparsity)
    model.optimizer.build(model.trainable_variables)
    return model


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    rng = np.random.default_rng(0)
    model = resnet()
    reallocate = Reallocation(model, dsr.methods.DSR(target=FLAGS.target, initial_threshold=1e-3))
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

    table = Table("figure", "value", title=f"One DSR reallocation, ResNet-50, {keras.backend.backend()}")
    table.add_row(
        "sparse tensors, places", f"{len(reallocate.weights)}, {sum(math.prod(w.shape) for w in reallocate.weights):,}"
    )
    table.add_row("active weights (before, after)", f"{budget:,}, {int(outcome.active.sum()):,}")
    table.add_row("pruned and grown, median", f"{statistics.median(pruned):,.0f}")
    table.add_row(
        "seconds, median (min to max)", f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
    )
    table.add_row("first call, with compilation, s", f"{first:.1f}")
    table.add_row("peak extra memory, 10^6 bytes", f"{memory_after - memory_before:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
