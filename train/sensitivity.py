"""Sensitivity to sparsity: the score of a trained dense network when one layer alone is cut, and what to do with it.

    python -m train.run --model=lenet_300_100 --dataset=mnist --method=dense --out=runs/dense
    python -m train.sensitivity --run=runs/dense --max_drop=0.002

Writes sensitivity.png and sensitivity.csv into the run's folder, and shows the sparsities that the layers bear beside
the same sparsity for all, with no training after the cut (Han et al. 2015, arXiv 1506.02626, section 4.1).

Cost: one evaluation for each layer and sparsity, half a minute on 2 cores for the above. Expect: the first layer bears
75%, the others 55 to 57%; of 98.8% the network keeps 97.1% when it is cut so, and 83.4% when it is cut uniformly.
"""

from train.startup import PROGRAM, import_tensorflow

if __name__ in PROGRAM:
    import_tensorflow()

from pathlib import Path

import keras
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from keras_dsr.analysis.sensitivity import SPARSITIES
from keras_dsr.analysis.sensitivity_report import Sensitivity
from keras_dsr.arguments import LARGEST_STEP, is_number, is_whole
from train.data.in_memory import Data, load_data
from train.flags import quiet_libraries
from train.methods import kernels_of
from train.results.run_files import read_model
from train.run import one_line_errors
from train.storage.lock import held
from train.storage.previous_run import read_origin
from train.storage.run_folder import write_rows


def analyse(
    run: str,
    sparsities: list[float],
    max_drop: float,
    examples: int | None,
    data_dir: str | None,
    out: str | None,
    console: Console,
) -> tuple[Sensitivity, dict[str, tuple[float, float]]]:
    """Analyse the network of a finished dense run, write the plot and the table, and compare two ways to cut it.

    Args:
        run: the folder of the run.
        sparsities: increasing floats in [0, 1).
        max_drop: number >= 0, by how much the score may be worse when one layer is cut, in its own units.
        examples: int, how many of the test set to evaluate on, from the first on; None: all.
        data_dir: folder of prepared TensorFlow Datasets; None: where TFDS keeps them.
        out: folder to write to; None: that of the run.
        console: where to show it.

    Returns:
        The analysis; and by the way to cut, `"dense"`, `"chosen"` or `"uniform"`, the sparsity and the score.

    Raises:
        FileNotFoundError: there is no finished run, or no data, or no folder to write to.
        ValueError: an argument out of range, or a run whose network is sparse.
        BlockingIOError: another process writes to the folder.
    """
    _check(sparsities, max_drop, examples)
    settings = read_origin(run, "run")
    if kernels_of(settings["method"]) not in ("dense", "thin"):
        raise ValueError(f"--run={run} is a run of --method={settings['method']}, sparse already. Pass a dense one.")
    folder = Path(run if out is None else out)
    if not folder.is_dir():
        raise FileNotFoundError(f"--out={folder} is no folder. Create it, or leave --out away to write to the run's.")
    with held(folder):
        data = load_data(settings["dataset"], data_dir)
        test, of = _test_examples(data, examples)
        report = dsr.sensitivity(
            _trained(run, data), test, sparsities, **_score(data), verbose=0 if console.quiet else 1
        )
        console.print(f"Evaluated on {of} of the test set of {settings['dataset']}.\n", highlight=False, soft_wrap=True)
        console.print(str(report), highlight=False, markup=False, soft_wrap=True)
        report.plot(folder / "sensitivity.png")
        write_rows(folder / "sensitivity.csv", _rows(report))

        chosen = report.choose(max_drop=max_drop)
        scores = _compare(run, data, test, report, chosen)
        console.print(_chosen_table(report, chosen, max_drop))
        console.print(_comparison_table(report, scores))
        console.print("The sparsities are chosen on the examples that they are compared on.", highlight=False)
        console.print(f"{folder / 'sensitivity.png'}, {folder / 'sensitivity.csv'}", highlight=False, soft_wrap=True)
        return report, scores


def _check(sparsities: list[float], max_drop: float, examples: int | None) -> None:
    are_shares = bool(sparsities) and all(is_number(sparsity) and 0 <= sparsity < 1 for sparsity in sparsities)
    if not are_shares or list(sparsities) != sorted(set(sparsities)):
        raise ValueError(
            "--sparsities must be one or more numbers in [0, 1), in increasing order. "
            f"Received: --sparsities={','.join(map(str, sparsities))}"
        )
    if not is_number(max_drop) or max_drop < 0:
        raise ValueError(f"--max_drop must be a finite number of at least 0. Received: --max_drop={max_drop}")
    if examples is not None and not (is_whole(examples) and 1 <= examples <= LARGEST_STEP):
        raise ValueError(f"--examples must be from 1 to {LARGEST_STEP}. Received: --examples={examples}")


def _test_examples(data: Data, examples: int | None) -> tuple[tf.data.Dataset, str]:
    """The test set or its first examples, and in words which."""
    if examples is None:
        return data.test(), "all examples"
    first = next(iter(data.test().unbatch().batch(examples)))
    count = len(tf.nest.flatten(first)[0])
    return tf.data.Dataset.from_tensor_slices(first).batch(250), f"the first {count:,} examples"


def _trained(run: str, data: Data) -> keras.Model:
    model = read_model(Path(run) / "model.keras")
    model.compile("sgd", data.task.loss(), metrics=data.task.metrics(), jit_compile=False)
    return model


def _score(data: Data) -> dict[str, str]:
    """The figure to judge by: that of the task, or its loss where no metric gives it."""
    if data.task.measure is not None:
        return {"metric": "loss", "mode": "min"}
    return {"metric": data.task.score, "mode": data.task.best}


def _compare(
    run: str, data: Data, test: tf.data.Dataset, report: Sensitivity, chosen: dict[str, float]
) -> dict[str, tuple[float, float]]:
    """Sparsity and score of the dense network, of it cut as chosen, and cut as deep in all by one sparsity."""

    def cut(**arguments) -> tuple[float, float]:
        model = _trained(run, data)
        sparsity = dsr.sparsify(model, mask="magnitude", **arguments).sparsity
        model.compile("sgd", data.task.loss(), metrics=data.task.metrics(), jit_compile=False)
        return sparsity, model.evaluate(test, verbose=0, return_dict=True)[report.metric]

    as_chosen = cut(distribution=chosen)
    return {"dense": (0.0, report.baseline), "chosen": as_chosen, "uniform": cut(sparsity=as_chosen[0])}


def _rows(report: Sensitivity) -> list[dict]:
    """A row for each weight and sparsity."""
    return [
        {"weight": row.name, "places": row.size, "sparsity": sparsity, report.metric: value}
        for row in report.rows
        for sparsity, value in zip((0.0, *report.sparsities), (report.baseline, *row.values))
    ]


def _chosen_table(report: Sensitivity, chosen: dict[str, float], max_drop: float) -> Table:
    table = Table(title=f"Chosen at max_drop={max_drop:g}")
    for column in ("weight", "places", "sparsity"):
        table.add_column(column, justify="left" if column == "weight" else "right")
    for row in report.rows:
        table.add_row(row.name, f"{row.size:,}", f"{chosen[row.name]:.2%}")
    return table


def _comparison_table(report: Sensitivity, scores: dict[str, tuple[float, float]]) -> Table:
    table = Table(title="All layers cut, no training")
    for column in ("cut", "sparsity", report.metric):
        table.add_column(column, justify="left" if column == "cut" else "right")
    for name, (sparsity, score) in scores.items():
        table.add_row(name, f"{sparsity:.2%}", f"{score:.4f}")
    return table


def _numbers(texts: list[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        given = ",".join(texts)
        raise ValueError(f"--sparsities must be numbers with commas, as 0.5,0.9. Received: {given}") from None


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    given = flags.FLAGS
    with one_line_errors():
        sparsities = _numbers(given.sparsities)
        analyse(given.run, sparsities, given.max_drop, given.examples, given.data_dir, given.out, Console())


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "Folder of a finished dense run.", required=True)
    shares = [str(sparsity) for sparsity in SPARSITIES]
    flags.DEFINE_list("sparsities", shares, "Shares of zeros to cut each layer to, increasing, in [0, 1).")
    flags.DEFINE_float("max_drop", 0.01, "How much worse the score may be by the cut of a layer.", lower_bound=0)
    flags.DEFINE_integer("examples", None, "Examples of the test set to evaluate on (all).", lower_bound=1)
    flags.DEFINE_string("data_dir", None, "Folder of prepared TensorFlow Datasets (where TFDS keeps them).")
    flags.DEFINE_string("out", None, "Folder to write to (the run's).")
    app.run(main)
