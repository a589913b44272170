"""The figures of docs/results.md are those that its commands give, where a row of each table is trained again."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

import results  # noqa: E402 (a tool of the docs, which are no package)

pytestmark = pytest.mark.once


@pytest.mark.parametrize("row", results.ROWS, ids=lambda row: row.section)
def test_every_row_has_a_figure_on_the_page(row):
    mean, deviation = results.on_the_page(row)
    assert 50 < mean < 100 and 0 <= deviation < 5


@pytest.mark.thorough
def test_a_row_of_each_table_comes_out_as_on_the_page(prepared_data):
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "docs/tools/results.py", f"--data_dir={prepared_data}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as on the page") == len(results.ROWS)
