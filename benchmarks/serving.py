"""Latency of an exported network with products chosen by measurement, over the same with dense products.

    python -m benchmarks.serving                        # about 2 minutes on 2 cores
    python -m benchmarks.serving --model=resnet50       # about 6 minutes
    python -m benchmarks.serving --format=litert        # about 1 minute: single dense layers, by pattern
    python -m benchmarks.serving --format=litert --part=convolutions  # about 5 minutes, after `make machines`
    python -m benchmarks.serving --format=litert --part=int8 --data_dir=DATA  # 15 to 50 minutes: trained networks

Exports a network twice by `keras_dsr.export`, with `kernels="auto"` and with dense kernels, and serves both in turn in
a process of its own in which keras_dsr cannot be imported. The ratio of a round is dense over auto, so 2 is twice as
fast; medians over the rounds.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.int8 import int8_table
from benchmarks.litert import convolutions_table, litert_table
from benchmarks.networks import sparse_perceptron, sparse_resnet50
from train.flags import quiet_libraries

FLAGS = flags.FLAGS
NETWORKS = ["MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0"]
flags.DEFINE_enum("model", "perceptron", ["perceptron", "resnet50"], "4096-4096-4096-10, or ResNet-50 (Keras's own).")
flags.DEFINE_enum("format", "tf_saved_model", ["tf_saved_model", "litert"], "Of the files.")
flags.DEFINE_enum("part", "dense", ["dense", "convolutions", "int8"], "Of a LiteRT file.")
flags.DEFINE_integer("epochs", 10, "Of training, with --part=int8.", lower_bound=1)
flags.DEFINE_string("data_dir", None, "A folder of prepared TensorFlow Datasets, with --part=int8.")
flags.DEFINE_multi_string("network", NETWORKS, "Of keras.applications, with --part=convolutions.")
flags.DEFINE_multi_integer("width", [1024, 2048], "Inputs and outputs of the layer, with --format=litert.")
flags.DEFINE_multi_float("sparsity", None, "Sparsity of every kernel; default: 0.95 and 0.99, of ResNet-50 0.95.")
flags.DEFINE_multi_integer("batch_size", None, "Examples; default: 8 and 64, of ResNet-50 1 and 8.", lower_bound=1)
flags.DEFINE_integer("rounds", 41, "Timed rounds of each batch size.", lower_bound=5)

SERVE = """
import json, statistics, sys, time
sys.modules["keras_dsr"] = None
import numpy as np, tensorflow as tf
shape, sizes, rounds = json.loads(sys.argv[1])
models = {name: tf.saved_model.load(name) for name in ("auto", "dense")}
results = []
for size in sizes:
    batch = tf.random.stateless_normal([size, *shape], seed=(1, 2))
    outputs = [model.serve(batch).numpy() for model in models.values()]
    times = {name: [] for name in models}
    for number in range(rounds + 3):
        for name in sorted(models, reverse=number % 2):
            start = time.perf_counter()
            models[name].serve(batch).numpy()
            if number > 2:
                times[name].append(time.perf_counter() - start)
    ratios = sorted(dense / auto for dense, auto in zip(times["dense"], times["auto"]))
    error = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[1]).max())
    medians = [statistics.median(times[name]) for name in ("dense", "auto")]
    results.append([size, *medians, statistics.median(ratios), ratios[0], ratios[-1], error])
print(json.dumps(results))
"""


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    console = Console(width=120)
    if FLAGS.format == "litert" and FLAGS.part == "convolutions":
        console.print(convolutions_table(FLAGS.network, FLAGS.sparsity or [0.9], FLAGS.rounds))
        return
    if FLAGS.format == "litert" and FLAGS.part == "int8":
        console.print(int8_table(FLAGS.epochs, FLAGS.data_dir))
        return
    if FLAGS.format == "litert":
        sparsities = FLAGS.sparsity or [0.8, 0.9, 0.95, 0.99]
        console.print(litert_table(FLAGS.width, sparsities, FLAGS.batch_size or [1, 8], FLAGS.rounds))
        return
    is_resnet = FLAGS.model == "resnet50"
    sizes = FLAGS.batch_size or ([1, 8] if is_resnet else [8, 64])
    table = Table(title=f"{FLAGS.model}: latency, dense over kernels='auto'")
    for column in ("sparsity", "batch", "dense ms", "auto ms", "ratio: median", "min", "max", "relative difference"):
        table.add_column(column, justify="right")
    for sparsity in FLAGS.sparsity or ([0.95] if is_resnet else [0.95, 0.99]):
        model = sparse_resnet50(sparsity) if is_resnet else sparse_perceptron(sparsity)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            dsr.export(model, path / "dense")
            report = dsr.export(model, path / "auto", kernels="auto", batch_sizes=sizes)
            console.print(str(report), markup=False, highlight=False)
            arguments = json.dumps([list(model.input_shape[1:]), sizes, FLAGS.rounds])
            command = [sys.executable, "-c", SERVE, arguments]
            printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
        for size, dense, auto, ratio, least, most, error in json.loads(printed.splitlines()[-1]):
            row = [f"{sparsity}", f"{size}", f"{dense * 1e3:.2f}", f"{auto * 1e3:.2f}"]
            table.add_row(*row, f"{ratio:.2f}", f"{least:.2f}", f"{most:.2f}", f"{error:.1g}")
    console.print(table)


if __name__ == "__main__":
    app.run(main)
