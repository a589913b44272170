"""Reports as text of a width and as HTML, by hand and of real models."""

import html.parser
import pathlib
import re

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr import tables
from keras_dsr.tables import Listing, Report, Table, shortened
from tests.helpers.pages import Table as Cells

ROOT = pathlib.Path(__file__).parents[1]

by_hand = pytest.mark.backends("torch")  # no backend does any of it


class Given(Report):
    def __init__(self, *parts):
        self.given = parts

    def parts(self):
        return self.given


def network() -> keras.Model:
    """Layers with names as long as those of real networks, one with characters that HTML has its own use for."""
    model = keras.Sequential(name="a_network_for_tables")
    model.add(keras.Input((8, 8, 16)))
    for stage in range(2):
        for block in range(2):
            name = f"stage_{stage}_block_{block}_convolution_3x3"
            model.add(keras.layers.Conv2D(64, 3, padding="same", activation="relu", name=name))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(1000, name="classes>b"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What each public function returns of one network."""
    model = network()
    x, y = np.random.default_rng(0).normal(size=(8, 8, 8, 16)).astype("float32"), np.arange(8)
    measured = dsr.sensitivity(model, (x, y), verbose=0)
    made = dsr.sparsify(model, 0.9, seed=1)
    found = {"sensitivity": measured, "sparsify": made, "summary": dsr.summary(model), "shrink": dsr.shrink(model)}
    if keras.backend.backend() == "tensorflow":
        found["export"] = dsr.export(model, tmp_path_factory.mktemp("exported") / "saved_model")
    return found


@pytest.mark.slow_on("tensorflow")
def test_reports_are_tables_that_fit_80_columns(reports):
    for name, report in reports.items():
        text = str(report)
        assert repr(report) == text and "Row(" not in text and "\x1b" not in text, name
        prose = [line for line in text.splitlines() if "saved_model" not in line]  # a path is not broken
        assert max(map(len, prose)) <= 80, text
        rows = [line for line in text.splitlines() if re.search(r"stage_\d.*  +\S*\d", line)]
        assert len(rows) >= 4, text
        assert len({row.split("  ")[0] for row in rows}) == 4, f"names that cannot be told apart:\n{text}"


def test_reports_are_html_for_notebooks(reports):
    for name, report in reports.items():
        page = report._repr_html_()
        assert "classes&gt;b" in page and "classes>b" not in page, name
        assert "color: inherit" in page and "…" not in page
        rows = Cells(page).rows
        assert {len(row) for row in rows} == {len(rows[0])}
        check_nesting(page)
    first = Cells(reports["summary"]._repr_html_()).rows[1]
    assert first[0].endswith("stage_0_block_0_convolution_3x3/kernel") and first[1:3] == ["3x3x16x64", "9,216"]


@by_hand
def test_html_is_escaped_everywhere():
    wild = "<b>&'\"</b>"
    page = Given(Table(wild, (wild,), [(wild,)], [(wild,)]), Listing(wild, [(wild, wild)]), wild)._repr_html_()
    assert "<b>" not in page and page.count("&lt;b&gt;&amp;&#x27;&quot;&lt;/b&gt;") == 8
    check_nesting(page)


def check_nesting(page: str) -> None:
    open_tags = []

    class Nesting(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag != "br":
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Nesting().feed(page)
    assert not open_tags


@by_hand
def test_a_table_by_hand():
    given = Given(
        Table("Two", ("weight", "size"), [("a/kernel", "1,000"), ("b", "2")], [("in all", "1,002")]),
        Listing("Left", [("bias", "dense")]),
        "",
        "A note.",
    )
    assert str(given).splitlines() == [
        "Two",
        "weight     size",
        "───────────────",
        "a/kernel  1,000",
        "b             2",
        "",
        "in all    1,002",
        "",
        "Left",
        "  bias: dense",
        "",
        "A note.",
    ]


@by_hand
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_columns_without_room_follow_below_and_none_is_lost(width, monkeypatch):
    monkeypatch.setattr(tables, "terminal_width", lambda: width)
    columns = ("weight", *(f"{share}%" for share in range(30)))
    rows = [(f"model/block_{row}/attention/kernel", *(f"{row}.{share:04}" for share in range(30))) for row in range(3)]
    text = str(Given(Table("Many", columns, rows)))
    assert max(map(len, text.splitlines())) <= width
    assert all(text.count(cell) == 1 for row in rows for cell in row[1:])


@by_hand
def test_names_that_are_shortened_stay_different():
    kinds = ("query", "key", "value")
    names = [f"functional_1/encoder_layer_{layer}/attention/{kind}/kernel" for layer in range(12) for kind in kinds]
    for width in (32, 40, 60, 100):
        short = shortened(names, width)
        assert len(set(short)) == len(names) and max(map(len, short)) <= width, width
    assert shortened(names, 100) == names
    assert shortened(["net/a/kernel", "net/b/kernel"], 9) == ["a/kernel", "b/kernel"]
    assert shortened(["one_long_name/kernel"], 11) == ["one_l…ernel"]


@by_hand
def test_the_width_is_that_of_the_terminal_or_80(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "123")
    assert tables.terminal_width() == 80  # pytest's stdout is none
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert tables.terminal_width() == 123
    monkeypatch.setattr("sys.stdout", None)
    assert tables.terminal_width() == 80


@by_hand
def test_printed_in_a_notebook_a_report_is_its_text_and_shown_it_is_html():
    client = pytest.importorskip("nbclient", reason='it needs `pip install -e ".[examples]"`')
    import nbformat

    setup = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tests.test_tables import Given, Table"
    report = 'report = Given(Table("Title", ("name", "number"), [("one", "1")]))'
    cells = [f"{setup}\n{report}", "print(report)", "report"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, printed, shown = (cell.outputs for cell in notebook.cells)
    (printed,), (shown,) = printed, shown
    assert printed.output_type == "stream"
    assert re.match(r"Title\nname +number\n─+\none +1\n", printed.text)
    assert set(shown.data) == {"text/html", "text/plain"} and "<table" in shown.data["text/html"]
