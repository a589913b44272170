"""Latency of LiteRT files of dense layers, sparse over dense: part of `benchmarks.serving`."""

import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
from rich.table import Table

import keras_dsr as dsr

PATTERNS = {"element": "element", "4x1": (4, 1)}


def litert_table(widths: list[int], sparsities: list[float], batch_sizes: list[int], rounds: int) -> Table:
    """One layer of as many outputs as inputs, by one thread of LiteRT's interpreter; medians of rounds in turn."""
    table = Table(title="LiteRT, one thread: a dense layer, dense file over sparse file")
    for column in ("width", "sparsity", "pattern", "bytes, dense", "bytes", *(f"batch {size}" for size in batch_sizes)):
        table.add_column(column, justify="left" if column == "pattern" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            dense = written(pathlib.Path(folder), width, 0.0, "element")
            for sparsity in sparsities:
                for name, pattern in PATTERNS.items():
                    sparse = written(pathlib.Path(folder), width, sparsity, pattern)
                    ratios = [f"{times_as_fast(dense, sparse, width, size, rounds):.2f}" for size in batch_sizes]
                    sizes = f"{len(dense):,}", f"{len(sparse):,}"
                    table.add_row(str(width), f"{sparsity:g}", name, *sizes, *ratios)
    return table


def written(folder: pathlib.Path, width: int, sparsity: float, pattern) -> bytes:
    """The file of one layer with random weights."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(width)])
    if sparsity:
        dsr.sparsify(model, sparsity, pattern=pattern, seed=0)
    dsr.export(model, folder / "model.tflite")
    return (folder / "model.tflite").read_bytes()


def times_as_fast(dense: bytes, sparse: bytes, width: int, batch_size: int, rounds: int) -> float:
    """The seconds of the dense file over those of the sparse one."""
    from ai_edge_litert.interpreter import Interpreter

    inputs = np.random.default_rng(0).normal(size=(batch_size, width)).astype("float32")
    times: list[list[float]] = [[], []]
    interpreters = []
    for content in (dense, sparse):
        interpreter = Interpreter(model_content=content, num_threads=1)
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, inputs.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, inputs)
        interpreters.append(interpreter)
    for number in range(rounds + 1):
        for interpreter, taken in zip(interpreters, times):
            start = time.perf_counter()
            interpreter.invoke()
            if number:
                taken.append(time.perf_counter() - start)
    return statistics.median(times[0]) / statistics.median(times[1])
