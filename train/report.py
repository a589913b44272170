"""The report of a finished run as one page of HTML: what each layer holds and costs, and how the training went.

    python -m train.run --method=dsr --out=runs/dsr
    python -m train.report --run=runs/dsr    # writes runs/dsr/report.html

Cost: half a minute at most, in which products with sparse kernels are timed; --batch_sizes= leaves that out.
"""

from train.startup import PROGRAM, import_tensorflow

if __name__ in PROGRAM:
    import_tensorflow()

from pathlib import Path

from absl import app, flags
from keras.ops import convert_to_numpy
from rich.console import Console

from keras_dsr.reporting.contents import Experiment
from keras_dsr.reporting.report import write_report
from train.flags import quiet_libraries
from train.results.run_files import Run, read_run
from train.run import one_line_errors


def write_report_of_run(
    run: str | Path, path: str | Path | None = None, masks=None, batch_sizes: list[int] | None = None
) -> Path:
    """Write the page of a finished run.

    Args:
        run: the folder of the run.
        path: the file to write; None: `report.html` in that folder.
        masks, batch_sizes: as of `keras_dsr.report`.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: there is no finished run.
        ValueError: a damaged file of it, or as `keras_dsr.report`.
    """
    folder = Path(run)
    found = read_run(folder)
    path = folder / "report.html" if path is None else Path(path)
    write_report(found.model, path, masks, batch_sizes, None, experiment_of(found))
    return path


def experiment_of(run: Run) -> Experiment:
    """What the page shows of a run beside its model."""
    settings, result = run.settings, run.result
    is_tied = result["active_weights"] < result["weights"] and run.masks is None and not _has_zeros(run)
    return Experiment(
        title=f"{settings.get('model')} on {settings.get('dataset')}",
        subtitle=f"The run {result.get('name')}: trained by {settings.get('method')}, {len(run.rows):,} epochs",
        settings={name: value for name, value in settings.items() if value is not None},
        score=(result.get("score", "score"), result["test_score"]),
        rows=run.rows,
        target=_target(run),
        masks=run.masks,
        shared=result["active_weights"] if is_tied else None,
    )


def _has_zeros(run: Run) -> bool:
    names = {name for name, *_ in run.result["layers"]}
    return any((convert_to_numpy(one) == 0).any() for one in run.model.variables if one.path in names)


def _target(run: Run) -> float | None:
    """How many units a reallocation was to move."""
    target = run.settings.get("target")
    if run.settings.get("method") != "dsr" or target is None:
        return None
    if target >= 1:
        return float(target)
    return target * run.result["active_weights"] if run.settings.get("pattern") == "element" else None


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    values = flags.FLAGS
    sizes = [int(size) for size in values.batch_sizes]
    with one_line_errors():
        path = write_report_of_run(values.run, values.out, values.masks or None, sizes)
    Console(stderr=True).print(f"The report is in {path}.")


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "The folder of the run.", required=True)
    flags.DEFINE_string("out", None, "The file to write; by default report.html in that folder.")
    flags.DEFINE_list("masks", None, "Names of layers, or paths of weights, whose masks are shown.")
    flags.DEFINE_list("batch_sizes", ["1", "8"], "For these the products with sparse kernels are timed.")
    quiet_libraries()
    app.run(main)
