"""LiteRT files, sparse over dense: dense layers, and convolutions on other machines. Parts of `benchmarks.serving`."""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.table import Table

import keras_dsr as dsr
from tests.helpers.other_machines import in_browser, on_arm

PATTERNS = {"element": "element", "4x1": (4, 1)}


def litert_table(widths: list[int], sparsities: list[float], batch_sizes: list[int], rounds: int) -> Table:
    """One layer of as many outputs as inputs, by one thread of LiteRT's interpreter; medians of rounds in turn."""
    table = Table(title="LiteRT, one thread: a dense layer, dense file over sparse file")
    columns = [
        "width",
        "sparsity",
        "pattern",
        "bytes, dense",
        "bytes",
        "form",
        *(f"batch {size}" for size in batch_sizes),
    ]
    for column in columns:
        table.add_column(column, justify="left" if column in ("pattern", "form") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            dense, _ = written(pathlib.Path(folder), width, 0.0, "element", batch_sizes)
            for sparsity in sparsities:
                for name, pattern in PATTERNS.items():
                    sparse, form = written(pathlib.Path(folder), width, sparsity, pattern, batch_sizes)
                    inputs = [random((size, width)) for size in batch_sizes]
                    ratios = [f"{times_as_fast(dense, sparse, batch, rounds):.2f}" for batch in inputs]
                    sizes = f"{len(dense):,}", f"{len(sparse):,}"
                    table.add_row(str(width), f"{sparsity:g}", name, *sizes, form, *ratios)
    return table


def written(folder: pathlib.Path, width: int, sparsity: float, pattern, batch_sizes: list[int]) -> tuple[bytes, str]:
    """The file of one layer with random weights, and the form that they have in it."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((width,)), keras.layers.Dense(width)])
    if sparsity:
        dsr.sparsify(model, sparsity, pattern=pattern, seed=0)
    report = dsr.export(model, folder / "model.tflite", batch_sizes=batch_sizes)
    return (folder / "model.tflite").read_bytes(), report.forms[0].form


def random(shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, the same each time."""
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def times_as_fast(dense: bytes, sparse: bytes, inputs: np.ndarray, rounds: int) -> float:
    """The seconds of the dense file over those of the sparse one, by one thread."""
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


def convolutions_table(names: list[str], sparsities: list[float], rounds: int) -> Table:
    """Networks of `keras.applications` for one image: dense file over the one with `xnnpack=True`, medians in turn."""
    machines: dict[str, Callable] = {"browser": in_browser, "ARM64, emulated": on_arm, "x86": here}
    table = Table(title="LiteRT, one image: processor time, dense file over xnnpack=True")
    for column in ("network", "sparsity", "bytes, dense", "bytes", *machines):
        table.add_column(column, justify="left" if column == "network" else "right")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        files = [folder / "dense.tflite", folder / "sparse.tflite"]
        for network in names:
            for sparsity in sparsities:
                image = written_network(network, sparsity, *files)
                row = [network, f"{sparsity:g}", *(f"{file.stat().st_size:,}" for file in files)]
                for run in machines.values():
                    dense, sparse = map(statistics.median, run(files, image, folder, rounds)[1])
                    row.append(f"{dense / sparse:.2f}")
                table.add_row(*row)
    return table


def written_network(name: str, sparsity: float, dense: pathlib.Path, sparse: pathlib.Path) -> np.ndarray:
    """Write a network of random weights dense, and sparse in its convolutions with a window of 1; an image for it."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32", name="image")]
    dsr.export(model, dense, input_signature=signature)
    dsr.sparsify(model, sparsity, exclude=lambda one: not dsr.pointwise_convolutions(one), seed=0)
    dsr.export(model, sparse, input_signature=signature, xnnpack=True)
    return np.random.default_rng(0).uniform(-1, 1, (1, *model.input_shape[1:])).astype("float32")


def here(paths: list[pathlib.Path], inputs: np.ndarray, folder: pathlib.Path, rounds: int) -> tuple:
    """The outputs (none) and milliseconds of each file by LiteRT's interpreter on this machine."""
    runners = [Interpreter(str(path), num_threads=1).get_signature_runner() for path in paths]
    times: list[list[float]] = [[] for _ in paths]
    for number in range(rounds + 1):
        for run, taken in zip(runners, times):
            start = time.process_time()
            run(image=inputs)
            if number:
                taken.append(1000 * (time.process_time() - start))
    return None, times
