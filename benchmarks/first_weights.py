"""Which scale first weights are best drawn at, dense or active: test accuracy after a short training.

    python -m benchmarks.first_weights --data_dir=DATA    # about 16 minutes on one core

Two networks, LeNet-300-100 on MNIST (400 steps) and a half-wide LeNet-5 on CIFAR-10 (200 steps), each with and without
batch norm, under SGD with momentum and Adam, at two sparsities, static, by SET and by DSR. The last layer is never
sparser than 0.9, and the first convolution is dense. To expect: without batch norm active scale is ahead under SGD, by
most at 0.99, where LeNet-5 is at chance at dense scale; with batch norm, and under Adam at 0.99, dense scale is ahead.
docs/methods.md has the table.
"""

import itertools

import keras
import numpy as np
from absl import app, flags
from keras import layers
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from train.data.in_memory import load_data

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "A folder of prepared TensorFlow Datasets.")
flags.DEFINE_integer("seeds", 2, "Runs of each kind.", lower_bound=1)
flags.DEFINE_multi_enum("network", ["lenet_300_100", "lenet_5"], ["lenet_300_100", "lenet_5"], "Which networks.")

SCALES = ("dense", "active")
OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "Adam": lambda: keras.optimizers.Adam(1e-3),
}
DATASETS = {"lenet_300_100": "mnist", "lenet_5": "cifar10"}
STEPS = {"lenet_300_100": 400, "lenet_5": 200}
BATCH = 50
PERIOD = 50
TEST_EXAMPLES = 2000


def build(network: str, has_norm: bool, sparsity: float, scale: str, seed: int) -> keras.Model:
    """A network of sparse layers that returns logits; Keras's own initializers."""
    sparse = {"initial_scale": scale, "use_bias": not has_norm}
    masks = itertools.count(100 * seed)

    def block(x, layer, activation="relu"):
        x = layer(x)
        x = layers.BatchNormalization(momentum=0.9)(x) if has_norm else x
        return layers.Activation(activation)(x)

    def dense(units, sparsity):
        return dsr.SparseDense(units, sparsity=sparsity, mask_seed=next(masks), **sparse)

    if network == "lenet_300_100":
        inputs = keras.Input((28, 28, 1))
        x = layers.Flatten()(inputs)
        x = block(x, dense(300, sparsity))
        x = block(x, dense(100, sparsity))
    else:
        inputs = keras.Input((32, 32, 3))
        x = layers.MaxPooling2D(2)(block(inputs, layers.Conv2D(10, 5, use_bias=not has_norm)))
        x = block(x, dsr.SparseConv2D(25, 5, sparsity=sparsity, mask_seed=next(masks), **sparse))
        x = layers.Flatten()(layers.MaxPooling2D(2)(x))
        x = block(x, dense(250, sparsity))
    return keras.Model(inputs, block(x, dense(10, min(sparsity, 0.9)), "linear"))


def moving(method: str, model: keras.Model) -> list[keras.callbacks.Callback]:
    """The callbacks of a method. H of DSR begins where it prunes the target: from 1e-3 it cannot climb in time."""
    if method == "static":
        return []
    if method == "SET":
        return [dsr.Reallocate(dsr.methods.SET(0.1), period=PERIOD)]
    magnitudes = np.abs(np.concatenate([weight.values() for weight in dsr.sparse_weights(model)]))
    return [dsr.DSRCallback(target=0.1, period=PERIOD, initial_threshold=float(np.quantile(magnitudes, 0.1)))]


def accuracy(network: str, has_norm: bool, optimizer: str, sparsity: float, method: str, scale: str, seed: int):
    """Test accuracy, in percent, after `STEPS` steps."""
    keras.utils.set_random_seed(seed)
    data = load_data(DATASETS[network], FLAGS.data_dir)
    model = build(network, has_norm, sparsity, scale, seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](), loss, metrics=["accuracy"], steps_per_execution=10)
    chosen = np.random.default_rng(seed).permutation(data.train_examples)[: BATCH * STEPS[network]]
    images, test_images = (
        (part.astype("float32") - data.mean) / data.std
        for part in (data.train_images[chosen], data.test_images[:TEST_EXAMPLES])
    )
    callbacks = moving(method, model)
    model.fit(images, data.train_labels[chosen], batch_size=BATCH, verbose=0, shuffle=False, callbacks=callbacks)
    labels = data.test_labels[:TEST_EXAMPLES]
    return 100 * model.evaluate(test_images, labels, batch_size=500, verbose=0, return_dict=True)["accuracy"]


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    for network in FLAGS.network:
        table = Table(title=f"{network}, {DATASETS[network]}, {STEPS[network]} steps: test accuracy, dense / active")
        table.add_column("method, sparsity")
        columns = list(itertools.product((False, True), OPTIMIZERS))
        for has_norm, optimizer in columns:
            table.add_column(f"{optimizer}, {'batch norm' if has_norm else 'none'}", justify="right")
        for method, sparsity in itertools.product(("static", "SET", "DSR"), (0.9, 0.99)):
            cells = []
            for has_norm, optimizer in columns:
                runs = {
                    scale: [
                        accuracy(network, has_norm, optimizer, sparsity, method, scale, seed)
                        for seed in range(FLAGS.seeds)
                    ]
                    for scale in SCALES
                }
                cells.append(" / ".join(f"{np.mean(runs[scale]):.1f}" for scale in SCALES))
                print(network, method, sparsity, optimizer, has_norm, cells[-1], flush=True)
            table.add_row(f"{method}, {sparsity}", *cells)
        Console(width=120).print(table)


if __name__ == "__main__":
    app.run(main)
