"""Products with few weights of this library and of SparseLab, a torch library with kernels written by hand, in turn.

    pip install sparselab==0.2.2 "keras-dsr[fast]"    # in an environment of its own
    KERAS_BACKEND=torch python -m benchmarks.other_libraries    # about 3 minutes on 2 cores

Each row is the forward and the backward pass of one layer without bias, with the gradients of inputs and weights, by as
many threads in both; medians of rounds in which each has its turn. `call` is this library's layer without what Keras
does around the `call` of every layer, some 0.3 ms that a torch module has not.
"""

import statistics
import time

import keras
import numpy as np
import sparselab
import torch
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr

FLAGS = flags.FLAGS
flags.DEFINE_multi_integer("width", [2048, 4096], "Inputs and outputs of the layer.")
flags.DEFINE_multi_float("sparsity", [0.9, 0.95, 0.99], "Of its weights.")
flags.DEFINE_multi_integer("batch", [8, 64], "Rows.")
flags.DEFINE_integer("rounds", 15, "Timed passes of each.", lower_bound=1)


def passes(width: int, sparsity: float) -> dict:
    """For each library a function from inputs to the outputs, and its trainable values."""
    ours = dsr.SparseDense(width, sparsity=sparsity, use_bias=False, storage="compact", capacity=1.0, mask_seed=0)
    ours.build((None, width))
    theirs = sparselab.SparseLinear(width, width, bias=False, sparsity=sparsity)
    parameters = list(ours.parameters())
    return {
        "keras_dsr": (ours, parameters),
        "call": (ours.call, parameters),
        "sparselab": (theirs, list(theirs.parameters())),
    }


def seconds(layer, parameters, inputs, upstream) -> float:
    start = time.perf_counter()
    layer(inputs).backward(upstream)
    taken = time.perf_counter() - start
    for each in (inputs, *parameters):
        each.grad = None
    return taken


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    if keras.backend.backend() != "torch":
        raise app.UsageError("SparseLab is a torch library: set KERAS_BACKEND=torch")
    table = Table(title=f"Forward and backward of one layer, milliseconds, {torch.get_num_threads()} threads")
    for column in ("width", "sparsity", "batch", "keras_dsr", "call", "sparselab", "sparselab / keras_dsr", "/ call"):
        table.add_column(column, justify="right")
    for width in FLAGS.width:
        for sparsity in FLAGS.sparsity:
            layers = passes(width, sparsity)
            for batch in FLAGS.batch:
                rng = np.random.default_rng(0)
                inputs, upstream = (
                    torch.tensor(rng.normal(size=(batch, width)), dtype=torch.float32) for _ in range(2)
                )
                inputs.requires_grad_(True)
                times: dict[str, list[float]] = {name: [] for name in layers}
                for number in range(FLAGS.rounds + 2):
                    for name, (layer, parameters) in layers.items():
                        taken = seconds(layer, parameters, inputs, upstream)
                        if number > 1:
                            times[name].append(taken)
                ours, call, theirs = (statistics.median(of_one) * 1e3 for of_one in times.values())
                row = f"{ours:.2f}", f"{call:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}", f"{theirs / call:.2f}"
                table.add_row(str(width), f"{sparsity:g}", str(batch), *row)
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
