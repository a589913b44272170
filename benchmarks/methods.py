"""What each method costs a training step of WRN-28-2, over the dense network, at the papers' periods.

    python -m benchmarks.methods    # about 15 minutes on 2 cores
    python -m benchmarks.methods --method=RigL --method=SNFS    # those alone

Two parts. A step without a reallocation: dense and every method in turn, `--rounds` times, on a fixed batch in memory;
the ratio of a round is method over dense, the median of the rounds is reported. Methods that act at every step have it
in. A reallocation: the median of `--rounds`. The last column spreads it over the shortest period of its paper.
"""

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.moving import LAST, METHODS, typical_seconds
from benchmarks.training import build, interleaved, median_of, ratios, step_timer
from keras_dsr.weights.reallocation import Reallocation

FLAGS = flags.FLAGS
flags.DEFINE_string("model", "wide_resnet", "Network: wide_resnet or lenet_300_100.")
flags.DEFINE_integer("batch_size", 128, "Examples in a step.", lower_bound=1)
flags.DEFINE_integer("rounds", 11, "Timed rounds.", lower_bound=3)
flags.DEFINE_integer("steps", 1, "Steps in a round.", lower_bound=1)
flags.DEFINE_float("sparsity", 0.9, "Sparsity of the sparse models.")
flags.DEFINE_multi_enum("method", list(METHODS), list(METHODS), "Which methods.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    timers = {"dense": step_timer(build(FLAGS.model, None), FLAGS.batch_size)}
    reallocations, random = {}, np.random.default_rng(0)
    chosen = {name: METHODS[name] for name in FLAGS.method}
    for name, (method, period, begins_dense) in chosen.items():
        model = build(FLAGS.model, 0.0 if begins_dense else FLAGS.sparsity)
        callback = dsr.Reallocate(method, period=1 if period == 1 else LAST)
        timers[name] = step_timer(model, FLAGS.batch_size, callback)
        reallocations[name] = typical_seconds(Reallocation(model, method), FLAGS.rounds, random)
        print(f"{name}: a reallocation takes {1e3 * reallocations[name]:.0f} ms", flush=True)
    rounds = interleaved(
        timers, FLAGS.steps, FLAGS.rounds, lambda done: print(f"round {done} of {FLAGS.rounds}", flush=True)
    )
    dense = median_of(rounds, "dense")

    table = Table(title=f"A step of {FLAGS.model} over the dense one's {1e3 * dense:.0f} ms (batch {FLAGS.batch_size})")
    for column in ("method", "step: median", "min", "max", "reallocation ms", "every", "in all"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, seconds in reallocations.items():
        step, least, most = ratios(rounds, name, "dense")
        period = chosen[name].period
        whole = step if period in (None, 1) else step + seconds / period / dense
        ratios_of_step = (f"{step:.3f}", f"{least:.3f}", f"{most:.3f}")
        table.add_row(name, *ratios_of_step, f"{1e3 * seconds:.0f}", f"{period or ''}", f"{whole:.3f}")
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
