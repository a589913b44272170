"""What patterns cost in accuracy, and what they bring in a LiteRT file: of runs of `train.compare`.

    for PATTERN in element 4x1; do
        python -m train.compare --model=hello_edge --dataset=keywords --methods=dense,dsr --sparsity=0.9 --seeds=3 \\
            --pattern=$PATTERN --out=runs/keywords-$PATTERN; done
    python -m benchmarks.patterns runs/keywords-element runs/keywords-4x1    # about half a minute

A row is of all seeds of a method, sparsity and pattern: mean and deviation of the test score. Files and times are of
the first seed: one example, one thread of LiteRT's interpreter, the dense run's file over this one in turn.
"""

import pathlib
import statistics
import tempfile

import keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.litert import random, times_as_fast
from train.flags import quiet_libraries
from train.results.results import Result, read_result
from train.storage.run_folder import read_config

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 201, "Timed rounds of each file.", lower_bound=5)

Kind = tuple[str, str, str, float, str]  # network, data set, method, sparsity, pattern


def finished_runs(folders: list[pathlib.Path]) -> dict[Kind, list[Result]]:
    """The finished runs in these folders, by what they have in common."""
    kinds: dict[Kind, dict[str, Result]] = {}
    for path in sorted(run for folder in folders for run in folder.iterdir() if run.is_dir()):
        config, result = read_config(path), read_result(path)
        if config is None or result is None:
            continue
        of = config["settings"]
        pattern = of["pattern"] if of["method"] != "dense" else ""
        kind = of["model"], of["dataset"], of["method"], of["sparsity"], pattern
        kinds.setdefault(kind, {})[result.name] = result  # dense ones may lie in several folders
    return {kind: list(results.values()) for kind, results in kinds.items()}


def patterns_table(folders: list[pathlib.Path], rounds: int) -> Table:
    """A row for each kind of run."""
    table = Table(title="LiteRT, one example, one thread: the dense run's file over this one")
    columns = ("network", "data", "method", "sparsity", "pattern", "seeds", "test", "bytes", "forms", "times as fast")
    for column in columns:
        table.add_column(column, justify="left" if column in ("network", "data", "method", "pattern") else "right")
    kinds = finished_runs(folders)
    dense: dict[tuple[str, str], bytes] = {}
    for kind in sorted(kinds, key=lambda kind: (kind[2] != "dense", kind)):
        network, data, method, sparsity, pattern = kind
        scores = [100 * result.test_score for result in kinds[kind]]
        deviation = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        content, forms, shape = written(kinds[kind][0])
        if method == "dense":
            dense.setdefault((network, data), content)
        base = dense.get((network, data))
        ratio = "" if base is None else f"{times_as_fast(base, content, random((1, *shape)), rounds):.2f}"
        row = [network, data, method, f"{sparsity:g}", pattern, f"{len(scores)}"]
        table.add_row(*row, f"{statistics.mean(scores):.2f}{deviation}", f"{len(content):,}", forms, ratio)
    return table


def written(result: Result) -> tuple[bytes, str, tuple[int, ...]]:
    """The LiteRT file of a run, the forms of its dense layers, and the shape of an example."""
    model = keras.models.load_model(result.folder / "model.keras", compile=False)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        report = dsr.export(model, path)
        return path.read_bytes(), ", ".join(one.form for one in report.forms), tuple(model.input_shape[1:])


def main(argv):
    if len(argv) < 2:
        raise app.UsageError("expected the folders of comparisons, such as runs/keywords-4x1")
    folders = [pathlib.Path(name) for name in argv[1:]]
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        raise app.UsageError(f"there is no folder {missing[0]}: it is that of `train.compare --out=`")
    quiet_libraries()
    Console(width=140).print(patterns_table(folders, FLAGS.rounds))


if __name__ == "__main__":
    app.run(main)
