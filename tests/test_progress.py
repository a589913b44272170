import importlib.util
from pathlib import Path

import pytest

from keras_dsr.progress import with_progress

ROOT = Path(__file__).parent.parent

once = pytest.mark.backends("torch")  # it is about a terminal


@once
def test_items_come_in_their_order_and_nothing_is_written_where_no_terminal_is(capfd):
    assert list(with_progress("abc", "Timing")) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


@once
@pytest.mark.parametrize("shown", [False, True])
def test_a_terminal_shows_it_on_the_standard_error(shown, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes anything for a terminal
    assert list(with_progress({"a": 1, "b": 2}.items(), "Timing", shown)) == [("a", 1), ("b", 2)]
    written, errors = capfd.readouterr()
    assert not written
    assert ("Timing" in errors) == shown


@once
def test_a_notebook_without_widgets_shows_no_warning_and_nothing_empty():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    if importlib.util.find_spec("ipywidgets"):
        pytest.skip("ipywidgets is there, and shows the bar")
    code = "from keras_dsr.progress import with_progress\nprint(list(with_progress([1, 2], 'Timing')))"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}).execute()
    (cell,) = notebook.cells
    written = [output.get("text") for output in cell.outputs if output.get("name") != "stderr"]
    assert written == ["[1, 2]\n"]
    assert not any("ipywidgets" in str(output) for output in cell.outputs)
