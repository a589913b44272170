"""What a finished run leaves: the model in two forms, two plots, a summary and its result."""

import dataclasses
import json
from pathlib import Path

import keras

import keras_dsr as dsr
from train.experiment.network import Network, normalize_by_whole_batches
from train.experiment.settings import Settings
from train.results import plots
from train.results import run_files as runs
from train.storage.run_folder import write_rows, write_text


@dataclasses.dataclass(frozen=True)
class Result:
    """What came out of a finished run.

    Attributes:
        folder: where everything is.
        name: of the run, such as `dsr-0.98-seed0`.
        score: name of the figure by which the network is judged, such as `"accuracy"`.
        test_score: its value on the test set after the last epoch, a share: 1 is 100%.
        active_weights: int, the weights of the kernels that the paper makes sparse, exactly: those that are active, or
            the shared values of a tied kernel.
        weights: int, the weights that these kernels have positions for.
        parameters: int, active weights and all the trainable parameters that are dense.
        model_bytes: int, the size of model.keras.
        test_scores: after each epoch.
        changed: of sparse kernels, after each epoch, the fraction of the active weights that were not active before it.
        layers: `(name, active, places)` of each sparse kernel, in the order of the model.
        test_top5: where there are many classes, how often the class is among the first five, on the test set, at last.
    """

    folder: Path
    name: str
    score: str
    test_score: float
    active_weights: int
    weights: int
    parameters: int
    model_bytes: int
    test_scores: tuple[float, ...]
    changed: tuple[float, ...]
    layers: tuple[tuple[str, int, int], ...]
    test_top5: float | None = None


def write_results(out: Path, settings: Settings, network: Network, rows: list[dict]) -> Result:
    """Write what there is at the end of a run; `result.json` last, the sign that nothing is lacking.

    Args:
        out: the folder of the run.
        settings: resolved.
        network: trained.
        rows: the metrics of each epoch.
    """
    write_rows(out / "metrics.csv", rows)
    normalize_by_whole_batches(network.model, False)  # so that the files load on every backend
    dsr.save(network.model, out / "model.keras")
    if keras.backend.backend() == "tensorflow":
        dsr.export(network.model, out / "saved_model")

    summary = dsr.summary(network.model)
    title = f"{settings.model} on {settings.dataset}, {settings.name}"
    score = network.score
    curves = {
        name: [row[key] for row in rows] for name, key in (("train", score), ("test", f"val_{score}")) if key in rows[0]
    }
    plots.plot_score(out / f"{score}.png", title, score, curves)
    places = {weight.name: weight.size for weight in dsr.sparse_weights(network.model)}
    plots.plot_sparsity(out / "sparsity.png", title, rows, places)

    result = Result(
        folder=out,
        name=settings.name,
        score=score,
        test_score=curves["test"][-1],
        active_weights=network.active_weights(),
        weights=network.weights(),
        parameters=summary.trainable_parameters,
        model_bytes=(out / "model.keras").stat().st_size,
        test_scores=tuple(curves["test"]),
        changed=tuple(row["changed"] for row in rows if "changed" in row),
        layers=tuple((row.name, row.active, row.size) for row in summary.rows),
        test_top5=rows[-1].get("val_top5_accuracy"),
    )
    write_text(out / "summary.txt", f"{title}\n\n{summary}\n\n{describe(result)}\n")
    values = {name: value for name, value in dataclasses.asdict(result).items() if name != "folder"}
    write_text(out / "result.json", json.dumps(values, indent=2) + "\n")
    return result


def read_result(out: Path) -> Result | None:
    """The result of the run in a folder; None if it is not finished.

    Raises:
        ValueError: result.json is damaged.
    """
    path = out / "result.json"
    if not path.exists():
        return None
    values = runs.read_result(path)
    try:
        result = Result(out, **values)
    except TypeError as error:
        raise runs.damaged(path, error) from error
    sequences = {name: tuple(values[name]) for name in ("test_scores", "changed")}
    return dataclasses.replace(result, **sequences, layers=tuple(map(tuple, values["layers"])))


def describe(result: Result) -> str:
    """A result in a few lines."""
    top5 = "" if result.test_top5 is None else f"test top-5      {result.test_top5:.2%}\n"
    return (
        f"{f'test {spoken(result.score)}':<15} {result.test_score:.2%}\n{top5}"
        f"active weights  {result.active_weights:,} of {result.weights:,}\n"
        f"model.keras     {result.model_bytes:,} bytes"
    )


def spoken(score: str) -> str:
    """The name of a score as it is written in a table."""
    return "BLEU" if score == "bleu" else score.replace("_", " ")
