"""What surrounds the loops of compact storage: how long they take to compile, and what a program of JAX adds to them.

    KERAS_BACKEND=torch python -m benchmarks.kernels --part=compile    # about a minute on 2 cores
    KERAS_BACKEND=jax python -m benchmarks.kernels --part=callback

`compile`: the first training step of a small network with a dense layer and a convolution in compact storage, in a
process that finds none of the loops compiled, in one that finds them on disk, and a step later on.

`callback`: forward and backward pass of one layer, the loops called from Python with arrays of NumPy, and inside of a
program of JAX, which calls back to Python by `jax.ffi`, or by `jax.pure_callback`; medians of rounds in turn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from keras_dsr.backend.plane_convolution import convolution_of

if keras.backend.backend() == "jax":
    from keras_dsr.backend import jax_host_calls

FLAGS = flags.FLAGS
flags.DEFINE_enum("part", "compile", ["compile", "callback"], "What is measured.")
flags.DEFINE_integer("rounds", 15, "Of the callback.", lower_bound=1)
flags.DEFINE_bool("child", False, "For the process of one measurement (this program starts it).")


def first_steps() -> tuple[float, float]:
    """Seconds of the first training step, and of a later one."""
    model = keras.Sequential([keras.Input((8, 8, 4))])
    model.add(dsr.SparseConv2D(8, 3, sparsity=0.9, storage="compact", padding="same"))
    model.add(keras.layers.Flatten())
    model.add(dsr.SparseDense(64, sparsity=0.9, storage="compact"))
    model.compile("sgd", "mse", jit_compile=False)
    dense = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Flatten(), keras.layers.Dense(64)])
    dense.compile("sgd", "mse", jit_compile=False)
    x, y = np.zeros((16, 8, 8, 4), "float32"), np.zeros((16, 64), "float32")
    dense.train_on_batch(x, y)  # what the backend does once is not ours
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[-1]


def compile_part(console: Console) -> None:
    if FLAGS.child:
        print("{:.2f} {:.4f}".format(*first_steps()))
        return
    table = Table("process", "first step, s", "a later one, s", title=f"Compiling, {keras.backend.backend()}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first on a machine", "later"):
            command = [sys.executable, "-m", "benchmarks.kernels", "--part=compile", "--child"]
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            table.add_row(name, *done.stdout.splitlines()[-1].split())
    console.print(table)


def layers() -> dict:
    """Layers by name, each with the shape of its inputs."""
    return {
        "dense 1024, batch 64": (dsr.SparseDense(1024, sparsity=0.9, storage="compact", use_bias=False), (64, 1024)),
        "dense 4096, batch 64": (dsr.SparseDense(4096, sparsity=0.9, storage="compact", use_bias=False), (64, 4096)),
        "3 x 3, 32 of 32 x 32, batch 32": (_convolution(32), (32, 32, 32, 32)),
        "3 x 3, 128 of 8 x 8, batch 32": (_convolution(128), (32, 8, 8, 128)),
    }


def _convolution(filters: int) -> keras.layers.Layer:
    return dsr.SparseConv2D(filters, 3, sparsity=0.9, storage="compact", padding="same", use_bias=False)


def callback_part(console: Console) -> None:
    table = Table(title="Forward and backward pass at sparsity 0.9, milliseconds")
    for column in ("layer", "loops from Python", "by jax.ffi", "by jax.pure_callback"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, (layer, shape) in layers().items():
        layer.build((None, *shape[1:]))
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=shape).astype("float32")
        upstream = rng.normal(size=convolution_of(layer.window, shape).output_shape).astype("float32")
        acts = from_python(layer, inputs, upstream), by_program(layer, inputs, upstream)
        with mock.patch.object(jax_host_calls, "_is_registered", return_value=False):
            acts = *acts, by_program(layer, inputs, upstream)
        seconds: list[list[float]] = [[] for _ in acts]
        for number in range(FLAGS.rounds + 2):
            for times, act in zip(seconds, acts):
                start = time.perf_counter()
                act()
                if number > 1:
                    times.append(time.perf_counter() - start)
        table.add_row(name, *(f"{statistics.median(times) * 1e3:.2f}" for times in seconds))
    console.print(table)


def from_python(layer, inputs: np.ndarray, upstream: np.ndarray) -> Callable[[], None]:
    """Both passes of a layer by the loops alone."""
    values, indices = np.array(layer.kernel_values.value), np.array(layer.kernel_indices.value)
    convolution, count = convolution_of(layer.window, inputs.shape), int(layer.kernel_count)

    def act():
        convolution.forward(inputs, values, convolution.structure(indices, count))
        convolution.backward(inputs, upstream, values, convolution.structure(indices, count))

    return act


def by_program(layer, inputs: np.ndarray, upstream: np.ndarray) -> Callable[[], None]:
    """Both passes in a compiled program, which is traced now."""
    import jax

    def scalar(values, inputs, upstream):
        state = [values if one is layer.kernel_values else one.value for one in layer.trainable_variables]
        outputs, _ = layer.stateless_call(state, [one.value for one in layer.non_trainable_variables], inputs)
        return (outputs * upstream).sum()

    program = jax.jit(jax.value_and_grad(scalar, argnums=(0, 1)))
    arrays = [jax.numpy.asarray(each) for each in (layer.kernel_values.value, inputs, upstream)]

    def act():
        jax.block_until_ready(program(*arrays))

    act()
    return act


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    if FLAGS.part == "callback" and keras.backend.backend() != "jax":
        raise app.UsageError("--part=callback is about JAX: set KERAS_BACKEND=jax")
    {"compile": compile_part, "callback": callback_part}[FLAGS.part](Console())


if __name__ == "__main__":
    app.run(main)
