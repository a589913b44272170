"""A comparison does what is not done, and tells it in one table."""

import io

import pytest
from rich.console import Console

from tests.train.folders import rows_of
from train.compare import plan, report
from train.run import train
from train.settings import Settings


def test_one_folder_a_run_and_one_table(tmp_path):
    console = Console(file=io.StringIO(), width=120)
    common = Settings(epochs=1, steps_per_epoch=12, sparsity=0.95, out=str(tmp_path / "all"))
    out, runs = plan(common, ["dense", "static", "dsr"])
    results = [train(run, console) for run in runs]
    report(out, runs, results, console)
    names = ["accuracy.png", "dense-seed0", "dsr-0.95-seed0", "static-0.95-seed0", "table.md"]
    assert sorted(path.name for path in out.iterdir()) == names
    table = (out / "table.md").read_text().splitlines()
    assert table[0] == "lenet_300_100 on digits"
    assert table[2].startswith("| method | sparsity | epochs | active weights | test accuracy | model.keras |")
    assert table[4].startswith("| dense | 0 | 1 | 50,200 | ") and table[6].startswith("| dsr | 0.95 | 1 | 2,510 | ")
    assert results[0].model_bytes > 3 * results[2].model_bytes
    assert "2,510" in console.file.getvalue()

    for result, active in zip(results, ([], [960, 1500, 50]), strict=False):  # dense and static move nothing
        (row,) = rows_of(result.folder)
        assert not any(name.startswith("dsr_") for name in row)
        assert [int(value) for name, value in row.items() if name.startswith("active/")] == active

    # again: nothing is left to do
    _, runs = plan(common, ["dense", "static", "dsr"])
    assert all(run.resume for run in runs)
    assert [train(run, console) for run in runs] == results
    assert console.file.getvalue().count("This run is finished") == 3

    # the same folder with other settings
    with pytest.raises(ValueError, match=r"was started with other settings.*epochs: 1 there, 2 asked for.*--overwrite"):
        plan(Settings(epochs=2, steps_per_epoch=12, sparsity=0.95, out=str(out)), ["dense", "dsr"])


@pytest.mark.parametrize("methods", [[], ["dsr", "dsr"]])
def test_methods_are_named_once(methods):
    with pytest.raises(ValueError, match="--methods must name methods, each once, out of dense, static, dsr"):
        plan(Settings(), methods)


def test_an_unknown_method_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--method must be one of"):
        plan(Settings(out=str(tmp_path / "all")), ["dense", "rigl"])


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "accuracy.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"is not empty and holds no runs. Nothing was changed"):
        plan(Settings(out=str(tmp_path)), ["dense"])
