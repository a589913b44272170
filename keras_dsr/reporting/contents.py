"""What the page of a model or a run shows: all that is known of it, and what is missing, in words."""

import collections
import importlib.util
import math
import os
import pathlib
import platform
from collections.abc import Sequence

import keras

from keras_dsr._version import __version__
from keras_dsr.layers import TiedKernel
from keras_dsr.reporting.costs import uses_of
from keras_dsr.reporting.history import History, history_of_rows, rows_of_logs
from keras_dsr.reporting.kernels import Kernel, kernels_of, other_parameters
from keras_dsr.reporting.masks import mask_image
from keras_dsr.reporting.page import Chart, Page, Row
from keras_dsr.reporting.runs import Run, read_run
from keras_dsr.reporting.speed import measure_all
from keras_dsr.reporting.tracing import trace
from keras_dsr.selectors.language import checked_selectors, matches
from keras_dsr.weights.sparse_weights import layers_of, sparse_weights

MASKS_BY_DEFAULT = 4


def page_of(model_or_run, masks, batch_sizes: tuple[int, ...], history) -> Page:
    """Gather what the page shows; arguments and errors as of `report`."""
    run = None
    model = model_or_run
    if isinstance(model_or_run, (str, os.PathLike)):
        if history is not None:
            raise ValueError("report(history=...) is for a model: the history of a run is in its folder. Leave it out.")
        run = read_run(pathlib.Path(model_or_run))
        model = run.model
    kernels = kernels_of(model, run.masks if run else None)
    chosen = _chosen(kernels, masks)
    traced = trace(model)
    uses = [uses_of(kernel, traced) for kernel in kernels]
    measured, left = measure_all([(k, u.count) for k, u in zip(kernels, uses)], batch_sizes)
    rows = [Row(kernel, use, measured.get(kernel, ())) for kernel, use in zip(kernels, uses)]
    is_sparse = any(kernel.is_sparse for kernel in kernels)
    charts, missing = _charts(_history(run, history, kernels), is_sparse, run is not None)
    return Page(
        title=f"{run.settings.get('model')} on {run.settings.get('dataset')}" if run else model.name,
        subtitle=_subtitle(model, run),
        rows=rows,
        others=other_parameters(model, kernels),
        counted=_counted(model, run, is_sparse),
        batch_sizes=batch_sizes if measured else (),
        not_measured=_not_measured(batch_sizes, bool(measured), left),
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores, {platform.system()}",
        score=(run.result.get("score", "score").replace("_", " "), run.result["test_score"]) if run else None,
        settings={name: value for name, value in run.settings.items() if value is not None} if run else {},
        charts=charts,
        missing_history=missing,
        masks=[mask_image(kernel) for kernel in chosen],
        version=__version__,
    )


def _subtitle(model: keras.Model, run: Run | None) -> str:
    if run is None:
        return f"A {type(model).__name__} model, on the {keras.backend.backend()} backend"
    settings = run.settings
    return f"The run {run.result.get('name')}: trained by {settings.get('method')}, {len(run.rows):,} epochs"


def _counted(model: keras.Model, run: Run | None, is_sparse: bool) -> str:
    if run and run.masks is not None:
        return "Active weights are those of the masks in the checkpoint of the run; some of them may have the value 0."
    if sparse_weights(model):
        return "Active weights are those of the masks of the model; some of them may have the value 0."
    source = "The model.keras of the run" if run else "The model"
    if run and not is_sparse and run.result["active_weights"] < run.result["weights"]:
        return (
            f"{run.result['active_weights']:,} shared values make the {run.result['weights']:,} weights of the "
            f"kernels; {source[0].lower()}{source[1:]}, which the table shows, has them all."
        )
    if layers_of(model, TiedKernel):
        return (
            "The kernels of tied layers are made of shared values and have no weights of their own: they are not in "
            "the table, and their values are among the other parameters."
        )
    if not is_sparse:
        return f"{source} has no masks, and no kernel of it has a zero: nothing is sparse."
    return (
        f"{source} has no masks: weights are counted as active that are not zero. An active weight whose value is 0, "
        "as one that has just grown, is not among them."
    )


def _history(run: Run | None, history, kernels: Sequence[Kernel]) -> History | None:
    names = collections.Counter(kernel.name for kernel in kernels)  # of two of one name, nothing is known
    sizes = {kernel.name: kernel.size for kernel in kernels if kernel.is_sparse and names[kernel.name] == 1}
    if run is not None:
        return history_of_rows(run.rows, sizes, run.result.get("score"), _target(run))
    if history is not None:
        return history_of_rows(rows_of_logs(history), sizes)
    return None


def _target(run: Run) -> float | None:
    """What K was steered to, in the units that a reallocation counts."""
    target = run.settings.get("target")
    if run.settings.get("method") != "dsr" or target is None:
        return None
    if target >= 1:
        return float(target)
    return target * run.result["active_weights"] if run.settings.get("granularity") == "element" else None


def _charts(history: History | None, is_sparse: bool, is_run: bool) -> tuple[list[Chart], list[str]]:
    """The charts of a history, and sentences on what is missing."""
    from keras_dsr.reporting.charts import density_chart, moved_chart, score_chart, threshold_chart

    if history is None:
        return [], [
            "No history was given. Pass what model.fit returned: report(model, path, history=history); or report a run "
            "of train.run, whose folder holds it."
        ]
    charts, missing = [], []
    if history.scores:
        charts.append(
            Chart(
                "Score",
                score_chart(history, "test" if is_run else "validation"),
                "What the network achieves after each epoch.",
            )
        )
    if history.threshold:
        charts.append(
            Chart(
                "Threshold H",
                threshold_chart(history),
                "Active weights below H are pruned; it doubles or halves to keep K near its target.",
            )
        )
    if not all(map(math.isnan, history.moved)):
        charts.append(
            Chart(
                "Moved weights K",
                moved_chart(history),
                "Weights pruned and grown elsewhere in a reallocation. No point: none in that epoch.",
            )
        )
    if not history.threshold and not history.moved and is_sparse:
        missing.append(
            "H and K were not logged: dsr.DSRCallback logs them (dsr_threshold, dsr_pruned) where weights are moved; "
            "not every method has them."
        )
    if history.densities:
        charts.append(
            Chart(
                "Density of each kernel",
                density_chart(history),
                "The share of its places that have a weight.",
            )
        )
    elif is_sparse:
        remedy = "This method has none." if is_run else "Runs of train.run log it (active/<kernel>)."
        missing.append(f"The density of each kernel over training was not logged. {remedy}")
    return charts, missing


def _chosen(kernels: Sequence[Kernel], masks) -> list[Kernel]:
    """The kernels whose masks are shown."""
    sparse = [kernel for kernel in kernels if kernel.is_sparse and kernel.active]
    if masks is None:
        count = min(MASKS_BY_DEFAULT, len(sparse))
        places = sorted({round(i * (len(sparse) - 1) / max(count - 1, 1)) for i in range(count)})
        return [sparse[place] for place in places]
    chosen = []
    for selector in checked_selectors(masks, "report", "masks"):
        found = [kernel for kernel in sparse if matches(selector, kernel)]
        if not found:
            raise ValueError(
                "report(masks=...) must select sparse weights of the model, by layers, classes, names or paths. It has "
                f"{', '.join(repr(kernel.name) for kernel in sparse) or 'none'}. "
                f"Received: masks={selector!r}"
            )
        chosen += [kernel for kernel in found if kernel not in chosen]
    return chosen


def _not_measured(batch_sizes: tuple[int, ...], is_measured: bool, left: int) -> str:
    if not batch_sizes:
        return "Speed was not measured: no batch sizes were given."
    if left:
        return f"There was no time to measure {left:,} of the kernels."
    if is_measured:
        return ""
    if importlib.util.find_spec("tensorflow") is None:
        return "Speed was not measured: TensorFlow, whose CSR product is timed, is not installed."
    return "Speed was not measured: there is no sparse kernel of a Dense layer or a 1x1 convolution in float32."
