"""Accuracy and size of trained networks in LiteRT files, float32 and int8: part of `benchmarks.serving`."""

import pathlib
import tempfile

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from rich.table import Table

import keras_dsr as dsr
import models
from train.data.in_memory import load_data

SPARSITY = 0.9


def int8_table(epochs: int, data_dir: str | None) -> Table:
    """LeNet-300-100 on MNIST and a convolutional network on CIFAR-10, trained dense and by DSR."""
    table = Table(title=f"LiteRT: test accuracy (bytes), {epochs} epochs, sparsity {SPARSITY} by DSR")
    for column in ("network", "float32 dense", "float32 sparse", "int8 dense", "int8 sparse"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, (dataset, built) in NETWORKS.items():
        x, y, test_x, test_y = images(dataset, data_dir)
        cells = {}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.tflite"
            for is_sparse in (False, True):
                model = trained(built, x, y, epochs, is_sparse)
                for dtype in (None, "int8"):
                    calibration = None if dtype is None else x[:500]
                    dsr.export(model, path, dtype=dtype, calibration=calibration)
                    cells[dtype, is_sparse] = f"{accuracy(path, test_x, test_y):.2%} ({path.stat().st_size:,})"
        order = [(None, False), (None, True), ("int8", False), ("int8", True)]
        table.add_row(name, *(cells[one] for one in order))
    return table


def images(dataset: str, data_dir: str | None) -> tuple[np.ndarray, ...]:
    """Training and test images, normalized, and their classes."""
    data = load_data(dataset, data_dir)
    mean, std = (np.array(numbers, "float32") for numbers in (data.mean, data.std))
    x, test_x = ((part.astype("float32") - mean) / std for part in (data.train_images, data.test_images))
    return x, data.train_labels, test_x, data.test_labels


def perceptron() -> keras.Model:
    return models.lenet_300_100()


def convolutional() -> keras.Model:
    parts: list = [keras.Input((32, 32, 3))]
    for filters, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        parts += [layers.Conv2D(filters, 3, strides, padding="same", use_bias=False), layers.BatchNormalization()]
        parts.append(layers.ReLU())
    return keras.Sequential([*parts, layers.GlobalAveragePooling2D(), layers.Dense(10)])


NETWORKS = {"LeNet-300-100, MNIST": ("mnist", perceptron), "5 convolutions, CIFAR-10": ("cifar10", convolutional)}


def trained(built, x, y, epochs: int, is_sparse: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = built()
    if is_sparse:
        dsr.sparsify(model, SPARSITY, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = epochs * (len(x) // 100)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)), loss)
    callbacks = [dsr.DSRCallback(target=0.02, period=100, stop_at=int(0.8 * steps))] if is_sparse else []
    model.fit(x, y, batch_size=100, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def accuracy(path: pathlib.Path, x: np.ndarray, y: np.ndarray) -> float:
    """Of a file, on images."""
    run = Interpreter(str(path)).get_signature_runner()
    (name,) = run.get_input_details()
    outputs = [next(iter(run(**{name: x[at : at + 100]}).values())) for at in range(0, len(x), 100)]
    return float((np.concatenate(outputs).argmax(1) == y).mean())
