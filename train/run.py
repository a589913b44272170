"""Train one network by one method, into one folder of results.

    python -m train.run                                    # LeNet-300-100 on digits by DSR, under a minute on 2 cores
    python -m train.run --dataset=mnist --sparsity=0.99    # needs MNIST, prepared by TFDS
    python -m train.run --dataset=mnist --sparsity=0.99 --resume    # goes on with it after it was stopped

    python -m train.run --backend=jax                      # or torch
    python -m train.run --method=my_module:MyMethod        # a method of your own: docs/own_method.md

What is not given comes from a recipe: the files in train/recipes have the commands of the papers, their cost and the
results to expect. `--help` lists the flags, and in brackets what holds without them.

The folder holds config.json, metrics.csv, summary.txt, sparsity.png, accuracy.png, tensorboard/, checkpoint,
model.keras and, on TensorFlow, saved_model/.
"""

import sys

from train.backend import choose_backend
from train.startup import PROGRAM, import_tensorflow

if __name__ in PROGRAM:  # what follows imports Keras, which fixes its backend
    choose_backend(sys.argv)
    import_tensorflow()

import contextlib
import dataclasses
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf
from absl import app
from rich.console import Console

import keras_dsr as dsr
from keras_dsr.weights.reallocation import Reallocation
from train.callbacks.progress import ShowProgress
from train.callbacks.record import Measure, Record
from train.data.in_memory import Data, InMemory, load_data
from train.distributed.cluster import ALONE, Cluster, joined
from train.experiment.network import Network, build_network
from train.experiment.settings import Settings, resolve
from train.flags import cluster_from_flags, define_cluster_flags, define_flags, quiet_libraries, settings_from_flags
from train.methods import Plan
from train.recipes import Recipe
from train.results.results import Result, describe, read_result, write_results
from train.storage import checkpoint, run_folder
from train.storage.lock import held
from train.storage.previous_run import initial_weights_seed


class Run(NamedTuple):
    """A run that has been checked, and can begin."""

    settings: Settings
    recipe: Recipe
    data: Data
    steps: int
    network: Network
    moving: keras.callbacks.Callback | None
    progress: checkpoint.Progress
    cluster: Cluster

    @property
    def folder(self) -> Path:
        return Path(self.settings.out)

    @property
    def config(self) -> dict:
        return run_config(self.settings, self.recipe)


def train(settings: Settings, console: Console | None = None) -> Result:
    """Do one run, from its beginning or from its checkpoint, and write its folder.

    Args:
        settings: what to do; what is None comes from the recipe.
        console: where to show progress; None: nowhere.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: the run cannot be done. Nothing was written or removed.
        BlockingIOError: another process writes to the folder.
    """
    return execute(prepare(settings), console or Console(quiet=True))


def check(settings: Settings) -> tuple[Settings, Recipe]:
    """The resolved settings and the recipe of a run that may write to its folder.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: see `train`.
    """
    settings, recipe = resolve(settings)
    out = Path(settings.out)
    if settings.resume and settings.period is None and (begun := run_folder.read_config(out)):
        settings = dataclasses.replace(settings, period=begun["settings"]["period"])
    run_folder.check_folder(out, run_config(settings, recipe), settings.resume, settings.overwrite)
    return settings, recipe


def prepare(settings: Settings, cluster: Cluster = ALONE) -> Run | Result:
    """Check all that can be checked before anything is written; the result itself if the run is finished.

    Args:
        settings: what to do.
        cluster: who does it.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: see `train`.
    """
    settings, recipe = check(settings) if cluster.writes else resolve(settings)
    out = Path(settings.out)
    if settings.resume and (finished := read_result(out)):
        return finished

    data = _data(settings)
    steps = _steps(settings, data)
    cluster.check(settings.batch_size, data.task)
    cluster.check_settings(settings.identity())
    # Two runs with the same seed begin with the same weights, whatever their masks: see `initial_weights_seed`.
    _fix_randomness(initial_weights_seed(settings.seed, settings.init_from))
    with cluster.scope():
        return _built(settings, recipe, data, steps, cluster)


def _built(settings: Settings, recipe: Recipe, data: Data, steps: int, cluster: Cluster) -> Run:
    plan = Plan(recipe, settings, steps, data)
    network = build_network(plan, weighted_metrics=cluster.shards_batches)
    plan = plan._replace(weights=dsr.sparse_weights(network.model))
    moving = plan.method.callback(plan)
    if isinstance(moving, dsr.Reallocate):
        # What the method refuses, it refuses here, and what it keeps with the layers is there for a checkpoint.
        Reallocation(network.model, moving.method)
    progress = checkpoint.Progress(0, [])
    if settings.resume:
        progress = checkpoint.load(Path(settings.out) / "checkpoint", network.model)
        for weight in dsr.sparse_weights(network.model) if progress.absent else ():
            weight.remember()
    return Run(settings, recipe, data, steps, network, moving, progress, cluster)


def execute(run: Run | Result, console: Console, *callbacks: keras.callbacks.Callback) -> Result | None:
    """Train what `prepare` returned, and write the results; None in a process that does not write them.

    Args:
        run: from `prepare`.
        console: where to show progress.
        *callbacks: more of them, called last.

    Raises:
        BlockingIOError: another process writes to the folder.
        FileExistsError, FileNotFoundError: another has written there since the run was checked.
    """
    if isinstance(run, Result):
        console.print(f"This run is finished: {run.folder}", soft_wrap=True)
        return run
    with _alone(run):
        with run.cluster.scope():
            _begin(run, console)
            rows = _fit(run, console, callbacks)
            run.cluster.check_agreement(_state(run), "After training")
        # Outside of the scope: what a variable made there needs, other processes would have to take part in.
        return write_results(run.folder, run.settings, run.network, rows) if run.cluster.writes else None


@contextlib.contextmanager
def _alone(run: Run):
    """The folder is this run's alone, and is as it was when the run was checked."""
    if not run.cluster.writes:
        yield
        return
    with held(run.folder):
        run_folder.check_folder(run.folder, run.config, run.settings.resume, run.settings.overwrite)
        yield


def _state(run: Run) -> list[keras.Variable]:
    return [*run.network.model.variables, *run.network.model.optimizer.variables]


def _begin(run: Run, console: Console):
    settings = run.settings
    run.cluster.check_agreement(_state(run), "Before training")
    if not settings.resume and run.cluster.writes:
        run_folder.clear(run.folder)
        run_folder.write_config(run.folder, run.config)
        checkpoint.save(run.folder / "checkpoint", run.network.model, run.progress)
    weights = run.network.weights()
    active = run.network.active_weights()
    start = f", from epoch {run.progress.epochs + 1}" if run.progress.epochs else ""
    console.print(
        f"{settings.model} on {settings.dataset} by {settings.method}: {active:,} of {weights:,} weights active, "
        f"{settings.epochs} epochs of {run.steps} steps of {settings.batch_size}{start}",
        soft_wrap=True,
    )


def _fit(run: Run, console: Console, callbacks: tuple[keras.callbacks.Callback, ...]) -> list[dict]:
    settings, done = run.settings, run.progress.epochs
    record = Record(run.folder, run.progress, writes=run.cluster.writes)
    if done == settings.epochs:  # it was stopped between its last epoch and its results
        record.on_train_begin()
        record.on_train_end()
        return record.rows
    test_set = run.cluster.test_set(run.data)
    batches = getattr(test_set, "cardinality", lambda: 0)()
    test_batches = int(batches) if batches > 0 else None
    show = ShowProgress(console, run.network.score, settings.epochs, run.steps, done, test_batches)
    moving = [run.moving] if run.moving else []
    stream = run.data.train(settings.seed, settings.batch_size, run.steps, done, settings.epochs, run.cluster.part)
    try:
        run.network.model.fit(
            stream,
            initial_epoch=done,
            epochs=settings.epochs,
            steps_per_epoch=run.steps,
            validation_data=test_set,
            callbacks=[*moving, Measure(run.network, run.data.task), record, show, *callbacks],
            shuffle=False,  # the stream has its own order
            verbose=0,
        )
    finally:
        show.stop()
    return record.rows


def run_config(settings: Settings, recipe: Recipe) -> dict:
    """What fixes a run, for its config.json."""
    return {
        "settings": settings.identity(),
        "recipe": {name: value for name, value in dataclasses.asdict(recipe).items() if name != "methods"},
        "method": recipe.method(settings.method).numbers(),
        "initial_weights_seed": initial_weights_seed(settings.seed, settings.init_from),
    }


def _data(settings: Settings) -> Data:
    data = load_data(settings.dataset, settings.data_dir)
    if settings.train_examples is None and settings.label_noise is None:
        return data
    if not isinstance(data, InMemory):
        raise ValueError(
            f"--train_examples and --label_noise are for data sets of images with classes that fit in memory. "
            f"Received: --dataset={settings.dataset}"
        )
    if settings.train_examples is not None:
        data = data.first(settings.train_examples)
    return data if settings.label_noise is None else data.with_wrong_labels(settings.label_noise, settings.seed)


def _steps(settings: Settings, data: Data) -> int:
    whole = data.train_examples // settings.batch_size
    if not whole:
        raise ValueError(
            f"--batch_size must be at most {data.train_examples}, the training examples of {settings.dataset}. "
            f"Received: --batch_size={settings.batch_size}"
        )
    steps = settings.steps_per_epoch or whole
    if steps > whole:
        raise ValueError(
            f"--steps_per_epoch must be at most {whole}: {settings.dataset} has {data.train_examples} training "
            f"examples, --batch_size is {settings.batch_size}. Received: --steps_per_epoch={steps}"
        )
    return steps


def _fix_randomness(seed: int):
    """From here on, everything random is a function of the seed, and names count from the beginning."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):  # on a CPU the same bits come without it, and a step is 20% faster
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def one_line_errors():
    """Ends the program with the message alone where the user's request cannot be met; other errors are ours."""
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    with one_line_errors(), joined(**cluster_from_flags()) as cluster:
        console = Console(quiet=not cluster.writes)
        with one_line_errors():
            run = prepare(settings_from_flags(), cluster)
        try:
            result = execute(run, console)
        except (BlockingIOError, FileExistsError) as error:  # of another program on the same folder
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("Stopped. The same command with --resume goes on after the last complete epoch.")
        if result is not None:
            console.print(f"\n{describe(result)}\nfolder          {result.folder}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    define_flags()
    define_cluster_flags()
    app.run(main)
