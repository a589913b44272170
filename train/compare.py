"""Train one network by several methods, and compare what comes out in one table and one plot.

    python -m train.compare    # LeNet-300-100 on digits at sparsity 0.98: dense, static and DSR

Cost: under a minute on 2 cores. Expect: dense 98.6% with 50,200 weights; of 1,004 weights static makes 74% and DSR 98%.

Each run has a folder of its own under --out. One that is finished is not done again, one that was stopped goes on.
"""

import dataclasses
import sys
from pathlib import Path

from absl import app, flags
from rich.console import Console
from rich.table import Table

from train import plots
from train.flags import define_flags, quiet_libraries, settings_from_flags
from train.folder import read_config, write_text
from train.methods import METHODS
from train.results import Result
from train.run import check, execute, one_line_errors, prepare
from train.settings import Settings, resolve

COLUMNS = ("method", "sparsity", "epochs", "active weights", "test accuracy", "model.keras")


def plan(common: Settings, methods: list[str]) -> tuple[Path, list[Settings]]:
    """The folder of the comparison and the settings of each run, which differ in method and folder alone.

    A run that was stopped is to be resumed, unless `common.overwrite`.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: one of the runs cannot be done. Nothing was written.
    """
    if not methods or len(set(methods)) < len(methods):
        raise ValueError(f"--methods must name methods, each once, out of {', '.join(METHODS)}. Received: {methods}")
    runs = []
    for method in methods:
        is_dense = method in METHODS and not METHODS[method].sparse
        run, _ = resolve(dataclasses.replace(common, method=method, sparsity=None if is_dense else common.sparsity))
        runs.append(run)
    out = Path(common.out or Path("runs", f"{runs[0].model}-{runs[0].dataset}-compare"))
    if out.is_dir() and any(out.iterdir()) and not any(read_config(path) for path in out.iterdir()):
        raise FileExistsError(f"--out={out} is not empty and holds no runs. Nothing was changed. Pass another --out.")
    runs = [_continued(dataclasses.replace(run, out=str(out / run.name))) for run in runs]
    for run in runs:
        check(run)
    return out, runs


def report(out: Path, runs: list[Settings], results: list[Result], console: Console) -> None:
    """Write `table.md` and `accuracy.png`, and print the table.

    Args:
        out, runs: from `plan`.
        results: of the runs, in the same order.
        console: where to print.
    """
    title = f"{runs[0].model} on {runs[0].dataset}"
    rows = [_row(run, result) for run, result in zip(runs, results, strict=True)]
    curves = {run.method: result.test_accuracies for run, result in zip(runs, results, strict=True)}
    plots.plot_accuracy(out / "accuracy.png", f"{title}: test accuracy", curves)
    write_text(out / "table.md", f"{title}\n\n{_markdown(rows)}")

    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _continued(run: Settings) -> Settings:
    """The settings that go on with a run where it was stopped, or begin it."""
    if (Path(run.out) / "checkpoint").exists():
        return dataclasses.replace(run, resume=not run.overwrite)
    # Stopped before its first checkpoint, or never begun.
    return dataclasses.replace(run, overwrite=True)


def _row(run: Settings, result: Result) -> tuple[str, ...]:
    return (
        run.method,
        f"{run.sparsity:g}",
        f"{run.epochs}",
        f"{result.active_weights:,}",
        f"{result.test_accuracy:.2%}",
        f"{result.model_bytes / 1000:,.1f} kB",
    )


def _markdown(rows: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in COLUMNS[1:]))
    return "".join(f"| {' | '.join(row)} |\n" for row in (COLUMNS, rule, *rows))


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    console = Console()
    with one_line_errors():
        out, runs = plan(settings_from_flags(), flags.FLAGS.methods)
    results = []
    for run in runs:
        with one_line_errors():
            ready = prepare(run)
        try:
            results.append(execute(ready, console))
        except KeyboardInterrupt:
            sys.exit("Stopped. The same command goes on after the last complete epoch.")
    report(out, runs, results, console)
    console.print(f"The plots, models and metrics are in {out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    flags.DEFINE_list("methods", ["dense", "static", "dsr"], f"Methods to compare: {', '.join(METHODS)}.")
    define_flags("method", "target", "resume")
    app.run(main)
