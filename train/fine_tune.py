"""Sparse fine-tuning: cut the smallest weights of a trained dense network, and train on under the mask.

    python -m train.run --model=lenet_300_100 --dataset=mnist --method=dense --out=runs/dense
    python -m train.fine_tune --run=runs/dense --sparsity=0.95 --epochs=3

Cost: a minute on 2 cores. Expect: see docs/results.md.
"""

from train.startup import PROGRAM, import_tensorflow

if __name__ in PROGRAM:
    import_tensorflow()

from pathlib import Path

import keras
from absl import app, flags
from rich.console import Console

import keras_dsr as dsr
from keras_dsr.arguments import LARGEST_STEP, is_number, is_one_of, is_whole
from keras_dsr.ops.sparsity_distributions import DISTRIBUTIONS
from train.data.in_memory import load_data
from train.flags import quiet_libraries
from train.results.run_files import read_model
from train.run import one_line_errors
from train.storage.previous_run import read_origin

LEARNING_RATE = 0.1  # falls to 0 along a cosine


def fine_tune(
    run: str, sparsity: float, epochs: int, distribution: str, data_dir: str | None, console: Console
) -> keras.Model:
    """Sparsify the network of a finished dense run by magnitude, train it on, and show the test accuracy on the way.

    Args:
        run: the folder of the run.
        sparsity: float in [0, 1).
        epochs: int, of SGD with Nesterov momentum 0.9, its learning rate falling from 0.1 to 0 along a cosine.
        distribution: of the sparsity over the layers, see `keras_dsr.sparsify`.
        data_dir: folder of prepared TensorFlow Datasets; None: where TFDS keeps them.
        console: where to show it.

    Returns:
        The model, with its sparse layers.

    Raises:
        FileNotFoundError: there is no finished run, or no data.
        ValueError: `sparsity`, `epochs` or `distribution` out of range.
    """
    _check(sparsity, epochs, distribution)
    settings = read_origin(run, "run")
    model = read_model(Path(run) / "model.keras")
    data = load_data(settings["dataset"], data_dir)
    steps = data.train_examples // settings["batch_size"]

    def compiled(optimizer) -> None:
        task = data.task
        model.compile(optimizer, task.loss(), metrics=task.metrics(), jit_compile=False)

    def accuracy() -> float:
        return model.evaluate(data.test(), verbose=0, return_dict=True)["accuracy"]

    if data.task.score != "accuracy":
        raise ValueError(f"--run must be of a network that classifies, judged by accuracy. Received: --run={run}")
    compiled("sgd")
    console.print(f"dense                {accuracy():.2%}", highlight=False)
    report = dsr.sparsify(model, sparsity, distribution, mask="magnitude")
    console.print(str(report))
    rates = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * steps)
    compiled(keras.optimizers.SGD(rates, momentum=0.9, nesterov=True))
    console.print(f"cut to {report.active:,} weights, of {report.size:,}: {accuracy():.2%}", highlight=False)

    def show(epoch, logs):
        console.print(f"after epoch {epoch + 1}        {logs['val_accuracy']:.2%}", highlight=False)

    model.fit(
        data.train(settings["seed"], settings["batch_size"], steps, 0, epochs),
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=data.test(),
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=show)],
        shuffle=False,  # the stream has its own order
        verbose=0,
    )
    return model


def _check(sparsity: float, epochs: int, distribution: str) -> None:
    if not is_number(sparsity) or not 0 <= sparsity < 1:
        raise ValueError(
            f"--sparsity must be in [0, 1): the share of kernel weights that are zero. Received: --sparsity={sparsity}"
        )
    if not is_whole(epochs) or not 1 <= epochs <= LARGEST_STEP:
        raise ValueError(f"--epochs must be from 1 to {LARGEST_STEP}. Received: --epochs={epochs}")
    if not is_one_of(distribution, DISTRIBUTIONS):
        raise ValueError(
            f"--distribution must be one of {', '.join(DISTRIBUTIONS)}. Received: --distribution={distribution}"
        )


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    given = flags.FLAGS
    with one_line_errors():
        fine_tune(given.run, given.sparsity, given.epochs, given.distribution, given.data_dir, Console())


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "Folder of a finished dense run.", required=True)
    flags.DEFINE_float("sparsity", 0.95, "Share of kernel weights that are zero, in [0, 1).")
    flags.DEFINE_integer("epochs", 3, "Epochs of fine-tuning.", lower_bound=1)
    flags.DEFINE_string("distribution", "erk", "Of the sparsity over the layers: erk, uniform.")
    flags.DEFINE_string("data_dir", None, "Folder of prepared TensorFlow Datasets (where TFDS keeps them).")
    app.run(main)
