"""The report of a run, and what is read of its folder."""

import json
import shutil

import numpy as np
import pytest

from tests.helpers.chromium import open_page
from tests.helpers.networks import values
from tests.helpers.pages import Table
from train.experiment.settings import Settings
from train.report import write_report_of_run
from train.results.run_files import read_run
from train.run import train

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and takes long there

no_backend = pytest.mark.backends("torch")  # no backend does any of it


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run of DSR on digits, which tests must not change."""
    return train(Settings(epochs=2, seed=1, out=str(tmp_path_factory.mktemp("reported") / "run"))).folder


def written(run, tmp_path, **settings) -> str:
    return write_report_of_run(run, tmp_path / "report.html", **settings).read_text(encoding="utf-8")


def test_a_run(run, tmp_path):
    page = written(run, tmp_path, batch_sizes=())
    result = json.loads((run / "result.json").read_text())
    rows = {row[0].split("|")[0]: row for row in Table(page).rows}
    for name, active, places in result["layers"]:
        assert rows[name][1:3] == [f"{places:,}", f"{active:,}"]
    assert f"{result['test_score']:.2%}" in page
    assert "masks in the checkpoint of the run" in page
    for heading in ("Score", "Threshold H", "Moved weights K", "Density of each kernel", "Settings", "Masks"):
        assert f"<h3>{heading}</h3>" in page or f"<h2>{heading}</h2>" in page
    assert "target 201" in page  # a fifth of 1,004
    assert "Speed was not measured: no batch sizes were given." in page
    assert page.count("data:image/png;base64,") == 3


@no_backend
def test_the_values_of_a_hashed_network_are_told_from_its_weights(tmp_path):
    settings = Settings(epochs=1, method="hashed", seed=1, steps_per_epoch=2, out=str(tmp_path / "run"))
    page = written(train(settings).folder, tmp_path, batch_sizes=())
    assert "shared values make the" in page


@no_backend
def test_in_chromium_nothing_is_cut_off(run, tmp_path):
    layers = json.loads((run / "result.json").read_text())["layers"]
    seen, console = open_page(written(run, tmp_path), tmp_path, (1280, 400))
    assert not console
    assert set(seen) == {1280, 400}
    for width, page in seen.items():
        assert page["scroll"] == width and page["wide"] == [] and page["broken"] == 0
        assert page["names"][: len(layers)] == [name for name, _, _ in layers]


def test_a_run_has_the_masks_of_its_checkpoint(run):
    read = read_run(run)
    active = {name: count for name, count, _ in json.loads((run / "result.json").read_text())["layers"]}
    assert {name: int(mask.sum()) for name, mask in read.masks.items()} == active
    for variable in read.model.trainable_variables:
        if variable.path in read.masks:
            assert not np.any(values(variable)[~read.masks[variable.path]])
    assert len(read.rows) == 2 and read.settings["method"] == "dsr"


def test_a_run_without_a_checkpoint_has_no_masks(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoint").unlink()
    assert read_run(tmp_path / "run").masks is None
    (tmp_path / "run" / "checkpoint").write_bytes(b"damaged")
    assert read_run(tmp_path / "run").masks is None


@no_backend
@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("metrics.csv", "epoch,loss\n0,1.5\n1\n", "not one number for each column"),
        ("metrics.csv", "epoch,loss\n0,none\n", "not one number for each column"),
        ("metrics.csv", "", "at least one row.*Remove it and result.json: the command of the run with --resume writes"),
        ("metrics.csv", "epoch,loss\n0,1\n", "metrics.csv of .*it has 1 rows, and result.json the scores of 2 epochs"),
        ("metrics.csv", "epoch,loss\n0,1\0\n", "not one number for each column"),
        ("metrics.csv", "epoch,loss\n0," + "1" * 200_000, "not one number for each column"),
        ("result.json", "{", "result.json of the run .* is damaged"),
        ("result.json", "{}", "it has no 'test_score', 'layers'"),
        ("config.json", "[]", "it has no 'settings'"),
        ("model.keras", "half", "model.keras of the run .* is damaged"),
        ("model.keras", None, "it has no model.keras. Finish it with --resume"),
        ("config.json", None, "is no run: it has no config.json"),
    ],
)
def test_a_damaged_run_is_refused(run, tmp_path, name, content, text):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("tensorboard", "saved_model"))
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        written(folder, tmp_path)
    assert not list(tmp_path.glob("*.html"))
