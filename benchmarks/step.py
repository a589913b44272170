"""Time of a training step, sparse over dense, the two interleaved in one process.

    python -m benchmarks.step                        # about 8 minutes on 2 cores
    python -m benchmarks.step --model=lenet_300_100  # about 1 minute
    python -m benchmarks.step --held_by=optimizer    # by a SparseOptimizer in place of sparse layers

Each round trains the dense model and the sparse one for the same number of steps of `fit`, in turn, on a fixed batch
that is already in memory; the sparse one with `DSRCallback`, between two of its reallocations. The ratio of a round is
sparse over dense; the median of the rounds is reported.
"""

import statistics

from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.training import build, step_timer

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("model", ["lenet_300_100", "wide_resnet"], ["lenet_300_100", "wide_resnet"], "Which networks.")
flags.DEFINE_multi_enum("jit_compile", ["no", "yes"], ["no", "yes"], "Without XLA, with it, or both.")
flags.DEFINE_enum("held_by", "layers", ["layers", "optimizer"], "Sparse layers, or a SparseOptimizer.")
flags.DEFINE_integer("batch_size", 128, "Examples in a step.", lower_bound=1)
flags.DEFINE_integer("rounds", None, "Timed rounds; default: 41 of LeNet, 11 of WRN.", lower_bound=9)
flags.DEFINE_float("sparsity", 0.9, "Sparsity of the sparse model.")

STEPS_A_ROUND = {"lenet_300_100": 50, "wide_resnet": 1}  # short rounds: the speed of a shared machine drifts
ROUNDS = {"lenet_300_100": 41, "wide_resnet": 11}


def timers(name: str, jit_compile: bool) -> list:
    """The timers of the dense model and of the sparse one, which trains as a user trains, between two reallocations."""
    between = dsr.DSRCallback(target=0.1, period=10**9)
    if FLAGS.held_by == "layers":
        sparse = build(name, FLAGS.sparsity, jit_compile)
    else:
        sparse = build(name, None, jit_compile, lambda inner: dsr.SparseOptimizer(inner, FLAGS.sparsity))
    return [
        step_timer(build(name, None, jit_compile), FLAGS.batch_size),
        step_timer(sparse, FLAGS.batch_size, between),
    ]


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    table = Table(title=f"Training step, sparse over dense (batch {FLAGS.batch_size}, sparsity {FLAGS.sparsity})")
    for column in ("network", "jit_compile", "dense ms", "sparse ms", "ratio: median", "min", "max"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name in FLAGS.model:
        for jit_compile in (choice == "yes" for choice in FLAGS.jit_compile):
            dense_and_sparse = timers(name, jit_compile)
            steps = STEPS_A_ROUND[name]
            count = FLAGS.rounds or ROUNDS[name]
            rounds = []
            for index in range(count):
                order = (0, 1) if index % 2 else (1, 0)
                times = {which: dense_and_sparse[which](steps) for which in order}
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
