"""What a sparse ResNet-50 takes on disk in each format, and what packing costs when it is loaded and served.

    python -m benchmarks.sizes                    # about 10 minutes on 2 cores
    python -m benchmarks.sizes --sparsity=0.99
    python -m benchmarks.sizes --formats=tf_saved_model,keras    # about 3 minutes

`keras.applications.ResNet50(weights=None)`, every convolution and dense kernel made sparse by `sparsify`. Sizes are in
10^6 bytes, of all files. A SavedModel is loaded and served beside Keras's own of the same network, the two in turn in
a process of its own in which keras_dsr cannot be imported, and their outputs are compared bit by bit. Ratios are of
packed over dense, in each round; medians over the rounds.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.networks import sparse_resnet50
from keras_dsr.conversion.convert import stripped
from train.flags import quiet_libraries

FLAGS = flags.FLAGS
flags.DEFINE_float("sparsity", 0.9, "Sparsity of every kernel.", lower_bound=0, upper_bound=0.999)
flags.DEFINE_list("formats", ["keras", "tf_saved_model", "onnx", "litert"], "Which formats.")
flags.DEFINE_integer("rounds", 21, "Timed rounds of a batch.", lower_bound=5)
flags.DEFINE_integer("loads", 5, "Timed rounds of loading.", lower_bound=3)
flags.DEFINE_multi_integer("batch_size", [1, 8], "Images in a batch.", lower_bound=1)

SERVE = """
import json, statistics, sys, time
sys.modules["keras_dsr"] = None
import numpy as np, tensorflow as tf
images, loads, rounds, sizes = np.load("images.npy"), *json.loads(sys.argv[1])

def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start

loading, models = {"packed": [], "dense": []}, {}
for number in range(loads + 1):
    for name in sorted(loading, reverse=number % 2):
        models[name], seconds = timed(tf.saved_model.load, name)
        if number:
            loading[name].append(seconds)
outputs = {name: model.serve(tf.constant(images)).numpy() for name, model in models.items()}
report = {"equal": outputs["packed"].tobytes() == outputs["dense"].tobytes()}
report["error"] = float(np.abs(outputs["packed"] - np.load("outputs.npy")).max())
report["loading"] = [statistics.median(a / b for a, b in zip(loading["packed"], loading["dense"]))]
report["loading"] += [statistics.median(loading[name]) for name in ("packed", "dense")]
for size in sizes:
    batch = tf.constant(np.resize(images, (size, *images.shape[1:])))
    times = {"packed": [], "dense": []}
    for number in range(rounds + 2):
        for name in sorted(times, reverse=number % 2):
            _, seconds = timed(lambda: models[name].serve(batch).numpy())
            if number > 1:
                times[name].append(seconds)
    report[f"batch {size}"] = [statistics.median(a / b for a, b in zip(times["packed"], times["dense"]))]
    report[f"batch {size}"] += [statistics.median(times[name]) for name in ("packed", "dense")]
print(json.dumps(report))
"""


def megabytes(path: pathlib.Path) -> float:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def written(model: keras.Model, folder: pathlib.Path) -> list[tuple[str, pathlib.Path, pathlib.Path]]:
    """Write the model in each format: what it is, Keras's own file of the same stock layers, and ours."""
    files = []
    if "keras" in FLAGS.formats:
        with stripped(model):
            model.save(folder / "dense.keras")
        dsr.save(model, folder / "small.keras")
        files.append((".keras", folder / "dense.keras", folder / "small.keras"))
    ours = {
        "tf_saved_model": [
            ("SavedModel, float32", "packed", {}),
            ("SavedModel, float16", "half", {"dtype": "float16"}),
        ],
        "onnx": [("ONNX, sparse initializers", "sparse.onnx", {}), ("ONNX, packed", "packed.onnx", {"packed": True})],
        "litert": [("LiteRT, sparse tensors", "sparse.tflite", {})],
    }
    dense = {"tf_saved_model": "dense", "onnx": "dense.onnx", "litert": "dense.tflite"}
    for format in [format for format in FLAGS.formats if format != "keras"]:
        with stripped(model):
            model.export(str(folder / dense[format]), format=format, verbose=False)
        for what, name, settings in ours[format]:
            dsr.export(model, folder / name, format=format, **settings)
            files.append((what, folder / dense[format], folder / name))
    return files


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    console = Console()
    quiet_libraries()
    model = sparse_resnet50(FLAGS.sparsity)
    images = np.random.default_rng(0).normal(size=(4, 224, 224, 3)).astype("float32")
    outputs = model.predict(images, verbose=0)  # Keras writes ONNX of a model only once that was called
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        table = Table(title=f"ResNet-50 at {FLAGS.sparsity}, 10^6 bytes")
        for column in ("format", "Keras's own", "keras_dsr", "share"):
            table.add_column(column, justify="left" if column == "format" else "right")
        for what, dense, ours in written(model, folder):
            before, after = megabytes(dense), megabytes(ours)
            table.add_row(what, f"{before:.2f}", f"{after:.2f}", f"{after / before:.1%}")
        console.print(table)
        if "tf_saved_model" in FLAGS.formats:
            np.save(folder / "images.npy", images)
            np.save(folder / "outputs.npy", outputs)
            arguments = json.dumps([FLAGS.loads, FLAGS.rounds, FLAGS.batch_size])
            command = [sys.executable, "-c", SERVE, arguments]
            printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
            report = json.loads(printed.splitlines()[-1])
            equal, error = report.pop("equal"), report.pop("error")
            console.print(
                f"packed outputs are those of the dense file bit by bit: {equal}; from the model's: {error:.2g}"
            )
            table = Table(title="SavedModel, seconds")
            for column in ("", "packed", "dense", "ratio"):
                table.add_column(column, justify="right" if column else "left")
            for what, (ratio, packed, dense) in report.items():
                table.add_row(what, f"{packed:.4f}", f"{dense:.4f}", f"{ratio:.3f}")
            console.print(table)


if __name__ == "__main__":
    app.run(main)
