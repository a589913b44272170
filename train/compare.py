"""Train one network by several methods, sparsities and seeds, and compare what comes out in tables and plots.

    python -m train.compare    # LeNet-300-100 on digits at sparsity 0.98: dense, static and DSR, one seed
    python -m train.compare --model=lenet_300_100 --dataset=mnist --sparsity=0.9,0.95,0.98,0.99 --methods=all \
        --seeds=3 --early_stop=0.25,0.5,0.75 --out=DIR

Cost: the first takes under a minute on 2 cores, the second some two hours. Expect: see docs/results.md.

Each run has a folder of its own under --out. One that is finished is not done again, one that was stopped goes on.
"""

import sys

from train.backend import choose_backend
from train.startup import PROGRAM, import_tensorflow

if __name__ in PROGRAM:  # what follows imports Keras, which fixes its backend
    choose_backend(sys.argv)
    import_tensorflow()

import dataclasses
import os
from pathlib import Path

from absl import app, flags
from rich.console import Console

from train.callbacks.progress import ShowRuns
from train.experiment.settings import Settings, resolve
from train.flags import define_flags, quiet_libraries, settings_from_flags
from train.methods import METHODS
from train.results import comparison
from train.results.results import Result
from train.run import check, one_line_errors
from train.storage.lock import held
from train.storage.run_folder import is_empty, read_config
from train.workers import do_runs

LOTTERY = {"lottery_original": None, "lottery_new": "random"}  # what --init_from is; None: the run of DSR itself
KNOWN = (*METHODS, *LOTTERY)
ALL = tuple(name for name in KNOWN if name in LOTTERY or not METHODS[name].has_phases)  # DSD has no budget to keep


@dataclasses.dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes:
        method: its name in the tables.
        settings: of the run, resolved.
        share: of DSR, the fraction of the epochs after which reallocation stopped; None: as the recipe has it.
        needs: the folder of the run that must be finished before; None: none must.
    """

    method: str
    settings: Settings
    share: float | None = None
    needs: str | None = None


def folder_of(common: Settings) -> Path:
    """The folder of a comparison: the one given, or one by the names of network and data set."""
    if common.out is not None:
        return Path(common.out)
    network, _ = resolve(_left_to(common, "dense"))
    return Path("runs", f"{network.model}-{network.dataset}-compare")


def plan(
    common: Settings,
    methods: list[str],
    sparsities: list[float] | None = None,
    seeds: int = 1,
    early_stops: list[float] | None = None,
) -> tuple[Path, list[Entry]]:
    """The folder of the comparison and its runs.

    A run that was stopped is to be resumed, unless `common.overwrite`.

    Args:
        common: what the runs share.
        methods: names out of `KNOWN`.
        sparsities: of the methods that have one; None: the recipe's.
        seeds: int, how many runs of each: with seeds 0, 1, ...
        early_stops: shares of the epochs, in (0, 1), after which DSR stops to move weights in runs of their own, at the
            highest sparsity.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: one of the runs cannot be done. Nothing was written.
    """
    _check(methods, sparsities, seeds, early_stops or [])
    out = folder_of(common)
    common = dataclasses.replace(common, out=str(out))
    highest = max(sparsities) if sparsities else None
    entries = []
    for sparsity in sorted(sparsities or [None], reverse=True):
        for method in methods:
            is_sized = method in LOTTERY or METHODS[method].sized
            entries += [(method, sparsity if is_sized else None, seed, None) for seed in range(seeds)]
    entries = list(dict.fromkeys(entries))  # a dense network has no sparsity: once is enough
    entries += [("dsr", highest, seed, share) for share in early_stops or [] for seed in range(seeds)]
    runs = [_entry(common, *entry) for entry in entries]
    if len({run.settings.out for run in runs}) < len(runs):
        raise ValueError(f"--early_stop must be shares that end in different epochs. Received: {early_stops}")
    if out.is_dir() and not is_empty(out) and not any(read_config(path) for path in out.iterdir()):
        raise FileExistsError(f"--out={out} is not empty and holds no runs. Nothing was changed. Pass another --out.")
    for run in runs:
        if run.needs is None:
            check(run.settings)
    return out, runs


def compare(out: Path, runs: list[Entry], jobs: int, console: Console, against: str | None = None) -> list[Result]:
    """Do the runs that are not done, and write the tables and plots.

    Args:
        out, runs: from `plan`.
        jobs: int, how many runs at a time.
        console: where to show progress and the tables.
        against: the method that all others are compared with, seed by seed; None: none is.

    Returns:
        The results, in the order of the runs.
    """
    folders = {run.settings.out: index for index, run in enumerate(runs)}
    waits_for = {index: folders[run.needs] for index, run in enumerate(runs) if run.needs is not None}
    results = {}
    with ShowRuns(console, [run.settings.epochs for run in runs]) as show:
        for index, result in do_runs([run.settings for run in runs], jobs, waits_for, show.epochs_done):
            results[index] = result
            show.finished(index, result)
    results = [results[index] for index in range(len(runs))]
    comparison.write(out, runs, results, console, against)
    return results


def _check(methods: list[str], sparsities: list[float] | None, seeds: int, early_stops: list[float]):
    if not methods or len(set(methods)) < len(methods) or not set(methods) <= set(KNOWN):
        raise ValueError(
            f"--methods must be 'all' or name methods, each once, out of {', '.join(KNOWN)}. "
            f"Received: --methods={','.join(methods)}"
        )
    for method in LOTTERY:
        if method in methods and "dsr" not in methods:
            raise ValueError(f"--methods={method} trains with the masks of dsr: name dsr too. Received: {methods}")
    for flag, values, low in (("sparsity", sparsities or [], 0), ("early_stop", early_stops, None)):
        is_fine = all((low is not None and value == low) or 0 < value < 1 for value in values)
        if not is_fine or len(set(values)) < len(values):
            interval = "[0, 1)" if low == 0 else "(0, 1)"
            raise ValueError(f"--{flag} must be numbers in {interval}, each once. Received: --{flag}={values}")
    if not 1 <= seeds < 2**31:
        raise ValueError(f"--seeds must be at least 1, the number of runs of each method. Received: --seeds={seeds}")


def _entry(common: Settings, method: str, sparsity: float | None, seed: int, share: float | None) -> Entry:
    settings = _left_to(common, "dsr" if method in LOTTERY else method)
    settings, _ = resolve(dataclasses.replace(settings, sparsity=sparsity, seed=seed))
    if share is not None:
        settings = dataclasses.replace(settings, stop_at=round(share * settings.epochs))
    origin = None
    if method in LOTTERY:
        origin = str(Path(common.out, settings.name))
        settings = dataclasses.replace(
            settings,
            method="static",
            target=None,
            period=None,
            distribution="uniform",
            last_layer_at_least=None,
            mask_from=origin,
            init_from=LOTTERY[method] or origin,
        )
    return Entry(method, _continued(settings, Path(common.out)), share, origin)


def _left_to(common: Settings, method: str) -> Settings:
    """What the runs share, for those of a method: without what it has no use for."""
    of = METHODS[method]
    return dataclasses.replace(
        common,
        method=method,
        period=common.period if of.has_period else None,
        pattern=common.pattern if of.has_units else "element",
        distribution=common.distribution if of.has_distribution else "uniform",
        last_layer_at_least=common.last_layer_at_least if of.kernels == "sparse" else None,
    )


def _continued(run: Settings, out: Path) -> Settings:
    """The settings that go on with a run where it was stopped, or begin it, in its own folder under `out`."""
    run = dataclasses.replace(run, out=str(out / run.name))
    if (Path(run.out) / "checkpoint").exists():
        return dataclasses.replace(run, resume=not run.overwrite)
    # Stopped before its first checkpoint, or never begun.
    return dataclasses.replace(run, overwrite=True)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    quiet_libraries()
    console = Console()
    values = flags.FLAGS
    with one_line_errors():
        methods = list(ALL) if values.methods == ["all"] else values.methods
        if values.against not in (None, *methods):
            raise ValueError(
                f"--against must be one of --methods={','.join(methods)}. Received: --against={values.against}"
            )
        sparsities, early_stops = _numbers("sparsity"), _numbers("early_stop")
        common = settings_from_flags()
        with held(folder_of(common)):
            out, runs = plan(common, methods, sparsities, values.seeds, early_stops)
            try:
                compare(out, runs, values.jobs, console, values.against)
            except KeyboardInterrupt:
                sys.exit("Stopped. The same command goes on after the last complete epoch of each run.")
    console.print(f"The tables, plots, models and metrics are in {out}", highlight=False, soft_wrap=True)


def _numbers(flag: str) -> list[float] | None:
    """The numbers of a list flag; None if it is not given."""
    texts = flags.FLAGS[flag].value
    try:
        return [float(text) for text in texts] or None
    except ValueError:
        raise ValueError(
            f"--{flag} must be numbers with commas between them. Received: --{flag}={','.join(texts)}"
        ) from None


if __name__ == "__main__":
    flags.DEFINE_list("methods", ["dense", "static", "dsr"], f"'all', or methods to compare: {', '.join(KNOWN)}.")
    flags.DEFINE_list("sparsity", [], "Sparsities, such as 0.9,0.99 (the recipe's).")
    flags.DEFINE_integer("seeds", 1, "Runs of each method and sparsity.")
    flags.DEFINE_list("early_stop", [], "Shares of training after which DSR stops, in runs of their own: 0.25,0.5.")
    flags.DEFINE_string("against", None, "Method to compare the others with, seed by seed, by a paired t-test.")
    flags.DEFINE_integer("jobs", os.cpu_count() or 1, "Runs at a time; each gets its fraction of the processors.", 1)
    define_flags("method", "sparsity", "seed", "target", "resume", "stop_at", "mask_from", "init_from")
    app.run(main)
