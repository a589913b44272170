"""The page as a reader gets it."""

import importlib.util
import re

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.reporting import report
from keras_dsr.reporting.contents import Experiment
from keras_dsr.reporting.page import _flops, _ratio, _seconds, _size
from keras_dsr.reporting.report import write_report
from tests.helpers.networks import compiled, fit, perceptron
from tests.helpers.pages import Table

pytestmark = pytest.mark.slow_on("jax")  # it is above the backends, and takes long there

no_backend = pytest.mark.backends("torch")  # no backend does any of it
TIMES = " \N{MULTIPLICATION SIGN} "


def written(model, tmp_path, **settings) -> str:
    report(model, tmp_path / "report.html", **settings)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_table_of_a_model_by_hand(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.Flatten(),
            dsr.SparseDense(1000, sparsity=0.9, name="wide"),
        ]
    )
    page = written(model, tmp_path, batch_sizes=(2,))
    head, conv, wide, total, others = Table(page).rows
    assert head[-1] == "measured|batch 2"
    assert conv[0].endswith("conv/kernel|Conv2D, 3x_3x_1x_4".replace("x_", TIMES))
    assert conv[1:] == ["36", "36", "dense", "144", "144", "2,592", "2,592", "1x", "-"]
    assert wide[0].endswith("wide/kernel|SparseDense, 144x_1000".replace("x_", TIMES))
    assert wide[1:5] == ["144,000", "14,400", "90.00%", "576,000"]
    assert wide[5] == "72,000"  # 57,600 of values, 14,400 gaps below 255
    assert wide[6:9] == ["288,000", "28,800", "10x"]
    assert re.fullmatch(r"[\d.,]+x\|[\d.,]+ (ns|µs|ms|s) dense\|[\d.,]+ (ns|µs|ms|s) sparse", wide[9])
    assert total[:7] == ["all kernels", "144,036", "14,436", "89.98%", "576,144", "72,144", "290,592"]
    assert others[:2] == ["other parameters", "1,004"]
    assert "No history was given" in page


@no_backend
@pytest.mark.parametrize(
    ("write", "values", "texts"),
    [
        (_seconds, (2.0, 0.25, 0.9997e-3, 4e-8), ("2 s", "250 ms", "1,000 \N{MICRO SIGN}s", "40 ns")),
        (_size, (7, 16_745, 999_999, 102_228_128), ("7 B", "16.7 kB", "1,000 kB", "102 MB")),
        (_flops, (None, 9_999_999, 25_690_112, 8_178_368_512), ("?", "9,999,999", "25.69 M", "8.178 G")),
    ],
)
def test_numbers_as_they_are_written(write, values, texts):
    assert tuple(map(write, values)) == texts


@no_backend
def test_ratios_as_they_are_written():
    pairs = [(1, 3), (10, 1), (1234, 1), (5, 0), (0, 0), (None, 1), (1e-5, 1)]
    infinite = "\N{INFINITY}"
    assert [_ratio(*pair) for pair in pairs] == ["0.333x", "10x", "1,234x", infinite, "-", "?", "0.00001x"]


@pytest.mark.slow_on("tensorflow")
def test_history_of_fit(fitted, tmp_path):
    model, history = fitted
    page = written(model, tmp_path, history=history, batch_sizes=None, masks="hidden")
    assert page.count("<svg") == 3
    assert "The density of each kernel over training was not logged" in page
    assert page.count("data:image/png;base64,") == 1


@pytest.mark.slow_on("tensorflow")
def test_the_density_of_layers_is_drawn_where_it_was_logged(tmp_path):
    model = compiled(perceptron())
    history = fit(model, dsr.DSRCallback(target=20, period=3, log_layers=True), epochs=2)
    page = written(model, tmp_path, history=history, batch_sizes=None, masks=())
    assert "<h3>Density of each kernel</h3>" in page and "was not logged" not in page


@pytest.mark.slow_on("tensorflow")
def test_kernels_of_one_name_are_told_apart(tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = [dsr.SparseDense(units, sparsity=0.5, name="same") for units in (900, 8)]

        def call(self, x):
            return self.inner[1](self.inner[0](x))

    model = Subclassed()
    model(np.ones((1, 700)))
    (name,) = {weight.name for weight in dsr.sparse_weights(model)}
    page = written(model, tmp_path, batch_sizes=(1,), history={f"active/{name}": [315_000, 300_000]})
    wide, narrow = Table(page).rows[1:3]
    assert wide[1:3] == ["630,000", "315,000"] and narrow[1:3] == ["7,200", "3,600"]
    assert wide[-1] != narrow[-1] and "x|" in wide[-1] and "x|" in narrow[-1]
    assert "<svg" not in page and "The density of each kernel over training was not logged" in page


def test_a_layer_without_inputs_has_no_sparsity(tmp_path):
    model = keras.Sequential([keras.Input((0,)), keras.layers.Dense(8), dsr.SparseDense(4, sparsity=0.5)])
    rows = Table(written(model, tmp_path, batch_sizes=())).rows
    assert rows[1][1:4] == ["0", "0", "dense"] and rows[2][1:4] == ["32", "16", "50.00%"]


def test_a_plain_model_says_that_nothing_is_sparse(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    page = written(model, tmp_path)
    assert "nothing is sparse" in page
    assert "Sparsity by layer" not in page


def test_tied_layers_are_said_to_be_missing(tmp_path):
    model = keras.Sequential([keras.Input((4,)), dsr.TiedDense(3, budget=2), keras.layers.Dense(2)])
    page = written(model, tmp_path)
    assert "The kernels of tied layers are made of shared values" in page
    assert [row[0].split("|")[-1].split(",")[0] for row in Table(page).rows[1:-2]] == ["Dense"]


def test_a_stripped_model_counts_what_is_not_zero(tmp_path):
    model = perceptron()
    active = [f"{weight.count():,}" for weight in dsr.sparse_weights(model)]
    page = written(dsr.strip(model), tmp_path, batch_sizes=())
    assert [row[2] for row in Table(page).rows[1:3]] == active
    assert "weights are counted as active that are not zero" in page


@no_backend
def test_the_page_loads_nothing_and_escapes_names(fitted, tmp_path):
    model, _ = fitted
    experiment = Experiment("<script>&amp;", "of a test", {"dataset": "<script>&amp;"}, ("accuracy", 0.5), [])
    write_report(model, tmp_path / "report.html", None, (), None, experiment)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and page.count("&lt;script&gt;&amp;amp;") == 3  # in title, heading and settings
    loaded = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)""", re.sub(r"<a [^>]*>", "", page))
    assert {one[:5] for pair in loaded for one in pair if one and one[0] != "#"} == {"data:"}
    assert "@import" not in page


@no_backend
def test_the_score_of_an_experiment_is_drawn_whatever_its_name(fitted, tmp_path):
    rows = [{"epoch": 0, "word_error_rate": 0.5}, {"epoch": 1, "word_error_rate": 0.25}]
    experiment = Experiment("title", "of a test", {}, ("word_error_rate", 0.25), rows)
    write_report(fitted[0], tmp_path / "report.html", (), (), None, experiment)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h3>Score</h3>" in page
    assert "Test word error rate</dt><dd>25.00%" in page


def test_an_error_leaves_the_old_page(tmp_path):
    page = written(perceptron(), tmp_path, batch_sizes=())
    with pytest.raises(
        ValueError, match=r"must select sparse weights of the model.*hidden/kernel'.*Received: masks='other'"
    ):
        report(perceptron(), tmp_path / "report.html", masks=["other"])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize(
    ("model", "path", "settings", "error", "text"),
    [
        (perceptron, "report.htm", {}, ValueError, r"must end in '.html'. Received: path='.*report.htm'"),
        (perceptron, "none/report.html", {}, FileNotFoundError, "does not exist"),
        (perceptron, "report.html", {"batch_sizes": (0,)}, ValueError, "ints of at least 1, such as .* Received"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "report.html", {}, ValueError, "has not been built"),
        (
            lambda: 3,
            "report.html",
            {},
            TypeError,
            "must be a built Keras model or layer.* Received: .*=3",
        ),
        (lambda: "a/run", "report.html", {}, TypeError, "must be a built Keras model.*Received: .*'a/run'"),
    ],
)
def test_what_is_refused(tmp_path, model, path, settings, error, text):
    with pytest.raises(error, match=text):
        report(model(), tmp_path / path, **settings)
    assert not list(tmp_path.iterdir())


@no_backend
def test_without_jinja2_the_extra_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    with pytest.raises(ImportError, match=r"needs jinja2, .* pip install jinja2"):
        report(perceptron(), tmp_path / "report.html")
