"""Time of a training step, sparse over dense, the two interleaved in one process.

    python -m benchmarks.step                        # about 10 minutes on 2 cores
    python -m benchmarks.step --model=lenet_300_100  # about 3 minutes
    python -m benchmarks.step --held_by=optimizer    # by a SparseOptimizer in place of sparse layers
    KERAS_BACKEND=jax python -m benchmarks.step      # or torch

Each round trains the dense model and the sparse one for the same number of steps of `fit`, in turn, on a fixed batch
that is already in memory; the sparse one with `DSRCallback`, between two of its reallocations. The ratio of a round is
sparse over dense; the median of the rounds is reported.
"""

import keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.training import COMPILING, build, interleaved, median_of, ratios, step_timer

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("model", ["lenet_300_100", "wide_resnet"], ["lenet_300_100", "wide_resnet"], "Which networks.")
flags.DEFINE_multi_enum("jit_compile", None, ["no", "yes"], "Without XLA, with it; default: what the backend has.")
flags.DEFINE_enum("held_by", "layers", ["layers", "optimizer"], "Sparse layers, or a SparseOptimizer.")
flags.DEFINE_integer("batch_size", 128, "Examples in a step.", lower_bound=1)
flags.DEFINE_integer("rounds", None, "Timed rounds; default: 41 of LeNet, 11 of WRN.", lower_bound=9)
flags.DEFINE_float("sparsity", 0.9, "Sparsity of the sparse model.")

# Short rounds, as the speed of a shared machine drifts; long enough that the beginning of a `fit`, which empties the
# caches of the processor, does not show.
STEPS_A_ROUND = {"lenet_300_100": 200, "wide_resnet": 1}
ROUNDS = {"lenet_300_100": 41, "wide_resnet": 11}


def timers(name: str, jit_compile: bool) -> dict:
    """The timers of the dense model and of the sparse one, which trains as a user trains, between two reallocations."""
    between = dsr.DSRCallback(stop_at=0)
    if FLAGS.held_by == "layers":
        sparse = build(name, FLAGS.sparsity, jit_compile)
    else:
        sparse = build(name, None, jit_compile, lambda inner: dsr.SparseOptimizer(inner, FLAGS.sparsity))
    return {
        "dense": step_timer(build(name, None, jit_compile), FLAGS.batch_size),
        "sparse": step_timer(sparse, FLAGS.batch_size, between),
    }


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    has = COMPILING[keras.backend.backend()]
    absent = set(FLAGS.jit_compile or has) - set(has)
    if absent:
        raise app.UsageError(f"on {keras.backend.backend()}, --jit_compile must be {' or '.join(has)}")
    table = Table(title=f"Training step, sparse over dense (batch {FLAGS.batch_size}, sparsity {FLAGS.sparsity})")
    for column in ("network", "jit_compile", "dense ms", "sparse ms", "ratio: median", "min", "max"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name in FLAGS.model:
        for jit_compile in (choice == "yes" for choice in FLAGS.jit_compile or has):
            count = FLAGS.rounds or ROUNDS[name]
            about = f"{name} jit_compile={jit_compile}: round"
            rounds = interleaved(
                timers(name, jit_compile),
                STEPS_A_ROUND[name],
                count,
                lambda done, about=about, count=count: print(f"{about} {done} of {count}", flush=True),
            )
            values = [f"{median_of(rounds, which) * 1e3:.2f}" for which in ("dense", "sparse")]
            values += [f"{ratio:.3f}" for ratio in ratios(rounds, "sparse", "dense")]
            table.add_row(name, str(jit_compile), *values)
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
