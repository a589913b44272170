"""Trains a row of each table of docs/results.md again and compares: `python docs/tools/results.py --data_dir=DATA`.

It takes under 15 minutes on 2 cores, and says of each figure what the page has and what comes out here, with one seed.
"""

import argparse
import concurrent.futures
import csv
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results.md"
TOLERANCE = 0.5, 4  # points, and standard deviations of the page: whichever is more


class Row(NamedTuple):
    """A figure of the page, and the commands that train what it is about.

    Attributes:
        section: the heading that its table is under.
        row: what the line of the table begins with.
        column: of the table.
        commands: arguments of Python, of which the last leaves the score. `OUT` is a folder, `DATA` that of data sets.
        run: the folder of the run in `OUT` whose score it is; None: it is the last percentage that is printed.
    """

    section: str
    row: str
    column: str
    commands: tuple[str, ...]
    run: str | None


LENET = "-m train.compare --model=lenet_300_100 --dataset=mnist --data_dir=DATA --out=OUT"
ROWS = (
    Row(
        "LeNet-300-100 on MNIST: every method of the paper",
        "**DSR**",
        "0.99",
        (f"{LENET} --sparsity=0.99 --methods=dsr",),
        "dsr-0.99-seed0",
    ),
    Row("Every method on one network", "SNFS", "0.98", (f"{LENET} --sparsity=0.98 --methods=snfs",), "snfs-0.98-seed0"),
    Row(
        "Does the mask suffice? Lottery tickets at 0.98",
        "its final mask, its original weights",
        "test accuracy",
        (f"{LENET} --sparsity=0.98 --methods=dsr,lottery_original",),
        "lottery-original-0.98-seed0",
    ),
    Row(
        "How long must weights move? Early stop at 0.99",
        "25 % (epoch 8 of 30)",
        "test accuracy",
        (f"{LENET} --sparsity=0.99 --methods=static --early_stop=0.25 --epochs=30",),
        "dsr-0.99-stop8-seed0",
    ),
    Row(
        "Sparse fine-tuning: a dense network cut by magnitude",
        '`distribution="erk"`',
        "3",
        (
            "-m train.run --model=lenet_300_100 --dataset=mnist --method=dense --data_dir=DATA --out=OUT/dense",
            "-m train.fine_tune --run=OUT/dense --sparsity=0.95 --epochs=3 --data_dir=DATA",
        ),
        None,
    ),
    Row(
        "Dense-sparse-dense",
        "dense, as many epochs",
        "test accuracy",
        (
            "-m train.compare --model=lenet_5 --dataset=cifar10 --width=0.5 --epochs=16 --steps_per_epoch=100 "
            "--methods=dense --data_dir=DATA --out=OUT",
        ),
        "dense-seed0",
    ),
    Row(
        "Dense-sparse-dense where labels are wrong",
        "40 %, none",
        "DSD",
        ("-m train.compare --recipe=dsd_noisy_labels --methods=dsd --out=OUT",),
        "dsd-0.98-noise0.4-seed0",
    ),
    Row(
        "Digits",
        "DSR",
        "test accuracy",
        ("-m train.compare --model=lenet_300_100 --dataset=digits --methods=dsr --out=OUT",),
        "dsr-0.98-seed0",
    ),
)


def on_the_page(row: Row) -> tuple[float, float]:
    """A figure in % and its standard deviation, 0 without one; of figures of several seeds those of all."""
    text = PAGE.read_text()
    found = re.search(rf"^### {re.escape(row.section)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"{PAGE.name} has no section {row.section!r}")
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    cells = None
    for line in tables:
        if row.column in line:
            at = line.index(row.column)
        elif line[0] == row.row:
            cells = line[at]
            break
    if cells is None:
        raise SystemExit(f"{row.section!r} on {PAGE.name} has no row {row.row!r} with a column {row.column!r}")
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", cells)]
    if "±" in cells:
        return numbers[0], numbers[1]
    mean = sum(numbers) / len(numbers)
    return mean, max(abs(number - mean) for number in numbers)


def trained(row: Row, data_dir: str, out: pathlib.Path) -> tuple[float, float]:
    """The score in % of what a row is about, trained here, and the seconds it took."""
    start = time.perf_counter()
    for command in row.commands:
        words = command.replace("OUT", str(out)).replace("DATA", data_dir).split()
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"python {command}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    seconds = time.perf_counter() - start
    if row.run is None:
        return float(re.findall(r"(\d+\.\d+) ?%", done.stdout)[-1]), seconds
    with open(out / row.run / "metrics.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    return 100 * float(last["val_accuracy"]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=os.environ.get("TFDS_DATA_DIR", ""), help="prepared TensorFlow Datasets")
    data_dir = parser.parse_args().data_dir
    expected = [on_the_page(row) for row in ROWS]
    differing = []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(trained, row, data_dir, pathlib.Path(folder, str(at))) for at, row in enumerate(ROWS)]
        for row, (mean, deviation), run in zip(ROWS, expected, runs, strict=True):
            score, seconds = run.result()
            bound = max(TOLERANCE[0], TOLERANCE[1] * deviation)
            verdict = "as on the page" if abs(score - mean) <= bound else f"differs by more than {bound:.2f}"
            differing += [] if abs(score - mean) <= bound else [row]
            print(f"{row.section}: {row.row}, {row.column}", flush=True)
            print(
                f"    the page {mean:.2f} ± {deviation:.2f} %, here {score:.2f} %, {seconds:.0f} s: {verdict}",
                flush=True,
            )
    if differing:
        raise SystemExit(f"{len(differing)} of {len(ROWS)} figures differ from those of {PAGE.name}")
    print(f"All {len(ROWS)} figures are as on {PAGE.name}.")


if __name__ == "__main__":
    main()
