"""What a comparison leaves: a table of means, a file with every run, and the plots of the paper."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from train.results import plots
from train.results.differences import differences
from train.results.results import Result, spoken
from train.storage.run_folder import write_rows, write_text


def write(out: Path, runs: Sequence, results: Sequence[Result], console: Console, against: str | None = None) -> None:
    """Write `table.md`, `table.csv` and the plots that there are data for, and print the table.

    Args:
        out: the folder of the comparison.
        runs: of `train.compare.Entry`.
        results: of the runs, in the same order.
        console: where to print.
        against: a method that all others are compared with, seed by seed; None: none is.
    """
    seeds = len({run.settings.seed for run in runs})
    title = f"{runs[0].settings.model} on {runs[0].settings.dataset}{f', {seeds} seeds' if seeds > 1 else ''}"
    pairs = list(zip(runs, results, strict=True))
    write_rows(out / "table.csv", [_record(run, result) for run, result in pairs])
    full = [(run, result) for run, result in pairs if run.share is None]
    groups = _grouped(full, lambda run: (run.method, run.settings.sparsity))
    sparsities = sorted({sparsity for method, sparsity in groups if method != "dense"})
    tables = [_details(groups)]
    if len(sparsities) > 1:
        tables.insert(0, _matrix(groups))
    shown = [_printable(title, *tables[0])]
    if against is not None:
        tables.append(differences(groups, against))
        shown.append(
            _printable(
                f"test {spoken(results[0].score)}, in pairs of seeds, standard error, paired t-test", *tables[-1]
            )
        )
    write_text(out / "table.md", "\n".join([f"{title}\n", *(_markdown(*table) for table in tables)]))
    for table in shown:
        console.print(table)

    _plot(out, title, groups, sparsities, pairs)


def _plot(out: Path, title: str, groups: dict, sparsities: list[float], pairs: list) -> None:
    points = {}
    for (method, _), members in groups.items():
        scores = [result.test_score for _, result in members]
        points.setdefault(method, []).append((members[0][1].parameters, *_mean_and_deviation(scores)))
    score = pairs[0][1].score
    plots.plot_tradeoff(out / f"{score}.png", f"{title}: test {spoken(score)} by size", spoken(score), points)

    layers = {}
    for sparsity in sparsities:
        members = groups.get(("dsr", sparsity), [])
        if members:
            rows = [[1 - active / places for _, active, places in result.layers] for _, result in members]
            layers[sparsity] = [statistics.mean(row[index] for row in rows) for index in range(len(rows[0]))]
            names = [name.removesuffix("/kernel") for name, _, _ in members[0][1].layers]
    if layers:
        plots.plot_layers(out / "layers.png", f"{title}: where DSR puts the weights", names, layers)

    changed = {}
    for (method, sparsity), members in groups.items():
        curves = [result.changed for _, result in members]
        if any(any(curve) for curve in curves):
            changed.setdefault(method, {})[sparsity] = [statistics.mean(epoch) for epoch in zip(*curves)]
    if changed:
        plots.plot_structure(out / "structure.png", f"{title}: how fast the masks settle", changed)

    stopped = _grouped([pair for pair in pairs if pair[0].share is not None], lambda run: run.share)
    if stopped:
        run, _ = next(iter(stopped.values()))[0]
        sparsity, epochs = run.settings.sparsity, run.settings.epochs
        stops = {members[0][0].settings.stop_at: members for members in stopped.values()}
        points = [
            (stop, *_mean_and_deviation([result.test_score for _, result in members]))
            for stop, members in sorted(stops.items())
        ]
        whole = [result.test_score for _, result in groups.get(("dsr", sparsity), [])]
        plots.plot_early_stop(
            out / "early_stop.png",
            f"{title}: DSR at {sparsity:g}, reallocation stopped early",
            spoken(pairs[0][1].score),
            points,
            epochs,
            _mean_and_deviation(whole) if whole else None,
        )


def _grouped(pairs: list, key) -> dict:
    groups = {}
    for run, result in pairs:
        groups.setdefault(key(run), []).append((run, result))
    return groups


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample; 0 of a single value)."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _score(members: list) -> str:
    mean, deviation = _mean_and_deviation([result.test_score for _, result in members])
    return f"{100 * mean:.2f} ± {100 * deviation:.2f} %" if len(members) > 1 else f"{100 * mean:.2f} %"


def _matrix(groups: dict) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Test score, a row a method and a column a sparsity, as in the paper."""
    sparsities = sorted({sparsity for _, sparsity in groups})  # with the 0 of a dense network
    rows = []
    for method in dict.fromkeys(method for method, _ in groups):
        cells = (groups.get((method, sparsity)) for sparsity in sparsities)
        rows.append((method, *(_score(members) if members else "" for members in cells)))
    return ("method", *(f"{sparsity:g}" for sparsity in sparsities)), rows


def _details(groups: dict) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = []
    for (method, sparsity), members in groups.items():
        run, result = members[0]
        size = statistics.mean(result.model_bytes for _, result in members)
        rows.append(
            (
                method,
                f"{sparsity:g}",
                f"{run.settings.epochs}",
                f"{result.active_weights:,}",
                f"{result.parameters:,}",
                _score(members),
                f"{size / 1000:,.1f} kB",
            )
        )
    score = f"test {spoken(result.score)}"
    return ("method", "sparsity", "epochs", "active weights", "parameters", score, "model.keras"), rows


def _record(run, result: Result) -> dict:
    return {
        "method": run.method,
        "sparsity": run.settings.sparsity,
        "seed": run.settings.seed,
        "epochs": run.settings.epochs,
        "stop_at": "" if run.settings.stop_at is None else run.settings.stop_at,
        "active_weights": result.active_weights,
        "weights": result.weights,
        "parameters": result.parameters,
        f"test_{result.score}": result.test_score,
        "model_bytes": result.model_bytes,
        "folder": result.folder.name,
    }


def _markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in header[1:]))
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))


def _printable(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    """The table for a terminal of 80 columns: without the column that needs the most room and says the least there."""
    shown = [index for index, column in enumerate(header) if column != "parameters"]
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for index in shown:
        justify = "left" if index == 0 else "right"
        table.add_column(header[index].replace(" ", "\n"), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    return table
