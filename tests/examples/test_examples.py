"""The examples run as programs, and each notebook is that of its script."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

jupytext = pytest.importorskip("jupytext", reason='the examples need `pip install -e ".[examples]"`')

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
GALLERIES = (ROOT / "README.md", ROOT / "docs" / "examples.md")

by_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def cells(path: pathlib.Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


@pytest.mark.once
@by_script
def test_the_notebook_has_the_cells_of_its_script(script):
    notebook = script.with_suffix(".ipynb")
    assert cells(notebook) == cells(script), f"run make examples: {notebook.name} is not of {script.name}"
    assert notebook.stat().st_size < 150_000


@pytest.mark.once
@by_script
def test_the_cells_of_a_notebook_have_run_without_an_error(script):
    code = [cell for cell in jupytext.read(script.with_suffix(".ipynb")).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert not re.search(r"/(tmp|home|root|usr|Users|site-packages)/", json.dumps(outputs)), "a path of the machine"


@pytest.mark.once
def test_there_is_a_script_for_each_notebook():
    assert SCRIPTS
    assert sorted((ROOT / "examples").glob("*.ipynb")) == [script.with_suffix(".ipynb") for script in SCRIPTS]


@pytest.mark.once
@by_script
def test_the_gallery_names_it(script):
    for page in GALLERIES:
        assert f"examples/{script.stem}.ipynb" in page.read_text(), page


@pytest.mark.thorough
@pytest.mark.backends("tensorflow")
@by_script
def test_an_example_runs_as_a_program(script, tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):  # of the tests, which run side by side
        environment.pop(name, None)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()
