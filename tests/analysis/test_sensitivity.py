"""The metric under cuts of one weight at a time, the model as before, and sparsities chosen by what they cost."""

import builtins
import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.analysis.sensitivity import SPARSITIES
from keras_dsr.analysis.sensitivity_report import Sensitivity, SensitivityRow
from keras_dsr.ops.initial_masks import active_units, magnitude_mask
from tests.helpers.networks import bits, compiled, digits, fill_dead, fit, perceptron, state_bits, values

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and takes long there


def network(**settings):
    """64-16-10, stock layers, compiled for the digits."""
    layers = [keras.layers.Dense(16, "relu", name="hidden"), keras.layers.Dense(10, name="classes")]
    return compiled(keras.Sequential([keras.Input((64,)), *layers], name="net"), **settings)


def held_out(examples=200):
    images, classes = digits()
    return images[-examples:], classes[-examples:]


def state_but_metrics(model):
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    kept = [variable for variable in model.variables if id(variable) not in metrics]
    return [bits(variable) for variable in [*kept, *model.optimizer.variables]]


def analysed(model, sparsities=(0.5, 0.9), data=None, **arguments):
    data = held_out() if data is None else data
    return dsr.sensitivity(model, data, sparsities, verbose=0, **arguments)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = network(optimizer=keras.optimizers.Adam(0.01))
    fit(model, batches=40, epochs=3)
    return model


# What is measured


@pytest.mark.parametrize("pattern", ["2:4", "fan_in"])
def test_weights_of_a_pattern_with_groups_are_cut_one_by_one(trained, pattern):
    model = keras.models.clone_model(trained)
    model.set_weights(trained.get_weights())
    dsr.sparsify(compiled(model), 0.5, pattern=pattern, mask="magnitude")
    kernel = values(model.layers[0].kernel)
    (row,) = analysed(model, (0.99,), include="hidden", exclude="classes").rows
    model.layers[0].variable_of("kernel").assign(kernel * magnitude_mask(kernel, active_units(kernel.size, 0.99)))
    assert row.values[0] == model.evaluate(*held_out(), verbose=0)[1]


def test_the_values_are_those_of_a_model_whose_weight_was_cut_by_hand(trained):
    before = state_but_metrics(trained)
    report = analysed(trained)
    assert (report.metric, report.mode, report.sparsities) == ("accuracy", "max", (0.5, 0.9))
    assert report.baseline == trained.evaluate(*held_out(), verbose=0)[1]
    assert [(row.name, row.shape, row.size) for row in report.rows] == [
        ("net/hidden/kernel", (64, 16), 1024),
        ("net/classes/kernel", (16, 10), 160),
    ]
    assert state_but_metrics(trained) == before
    for row, layer in zip(report.rows, trained.layers):
        kernel = values(layer.kernel)
        for sparsity, value in zip(report.sparsities, row.values):
            kept = magnitude_mask(kernel, active_units(row.size, sparsity))
            layer.kernel.assign(np.where(kept, kernel, 0))
            assert value == trained.evaluate(*held_out(), verbose=0)[1]
        layer.kernel.assign(kernel)
    assert min(row.values[1] for row in report.rows) < report.baseline - 0.05


@pytest.mark.backends("tensorflow", "jax")  # torch traces nothing
def test_nothing_is_traced_again_and_the_optimizer_goes_on(trained):
    traces = []

    class Traced(keras.layers.Layer):
        def call(self, x):
            traces.append(x)
            return x

    inputs = keras.Input((64,))
    model = compiled(keras.Model(inputs, keras.layers.Dense(10, name="classes")(Traced()(inputs))))
    fit(model)
    model.evaluate(*held_out(), verbose=0)
    function, count = model.test_function, len(traces)
    analysed(model, (0.2, 0.5, 0.9))
    assert model.test_function is function and len(traces) == count


def test_a_data_set_and_a_pydataset_give_what_arrays_give(trained):
    tf = pytest.importorskip("tensorflow")  # every backend reads its data sets

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return tuple(array[50 * index : 50 * index + 50] for array in held_out())

    arrays = analysed(trained, (0.9,), batch_size=50)
    assert analysed(trained, (0.9,), tf.data.Dataset.from_tensor_slices(held_out()).batch(50)) == arrays
    assert analysed(trained, (0.9,), Batches()) == arrays
    endless = tf.data.Dataset.from_tensor_slices(held_out()).batch(50).repeat()
    assert analysed(trained, (0.9,), endless, steps=4) == arrays


def test_include_and_exclude_are_those_of_sparsify(trained):
    report = analysed(trained, (0.5,), include="classes/bias", exclude=trained.layers[0])
    assert [row.name for row in report.rows] == ["net/classes/kernel", "net/classes/bias"]


def test_a_progress_bar_counts_the_cuts(trained, capsys):
    dsr.sensitivity(trained, held_out(), (0.5, 0.9), exclude="hidden")
    assert "2/2" in capsys.readouterr().out


# Metrics


def test_the_metric_is_the_first_or_the_named_one_and_keras_says_which_way_is_better():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    report = analysed(model, (0.5,))
    assert (report.metric, report.mode) == ("loss", "min")
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanAbsoluteError(name="error"), "accuracy"])
    one_hot = (held_out()[0], np.eye(10)[held_out()[1]])
    for metric, mode in ((None, "min"), ("accuracy", "max"), ("loss", "min")):
        report = analysed(model, (0.5,), one_hot, metric=metric)
        assert (report.metric, report.mode) == (metric or "error", mode)
    assert analysed(model, (0.5,), one_hot, mode="max").mode == "max"


def test_metrics_of_several_outputs_have_the_names_that_evaluate_gives_them():
    inputs = keras.Input((64,))
    outputs = [keras.layers.Dense(2, name=name)(inputs) for name in ("one", "other")]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"], metrics=[["mae"], ["accuracy"]])
    data = (held_out()[0], [np.ones((200, 2)), np.ones((200, 2))])
    for metric, mode in ((None, "min"), ("other_accuracy", "max"), ("other_loss", "min")):
        report = analysed(model, (0.5,), data, metric=metric)
        assert (report.metric, report.mode) == (metric or "one_mae", mode)


def test_a_metric_without_a_direction_asks_for_the_mode():
    def mean_logit(y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)

    model = network()
    model.compile("sgd", model.loss, metrics=[mean_logit])
    with pytest.raises(ValueError, match=r"'mean_logit' is better.*Pass mode='max' or mode='min'"):
        analysed(model)
    assert analysed(model, mode="min").metric == "mean_logit"


# The model is as it was


class Interrupting(keras.metrics.Metric):
    """Runs for some evaluations, then raises."""

    def __init__(self, error, evaluations):
        super().__init__(name="interrupting")
        self.error, self.left = error, evaluations

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.left -= 1
        if self.left < 0:
            raise self.error("stopped")

    def result(self):
        return 0.0


@pytest.mark.parametrize(
    ("error", "evaluations"),
    [(KeyboardInterrupt, 0), (KeyboardInterrupt, 1), (KeyboardInterrupt, 4), (RuntimeError, 2)],
)
def test_an_evaluation_that_is_interrupted_leaves_every_bit(error, evaluations):
    model = network()
    metric = Interrupting(error, evaluations)
    model.compile("sgd", model.loss, metrics=[metric], run_eagerly=True)
    before = state_bits(model)[: len(model.weights)]
    with pytest.raises(error):
        analysed(model, (0.5, 0.9), mode="max", batch_size=200)
    assert state_bits(model)[: len(model.weights)] == before


@settings(max_examples=3)
@given(st.sampled_from(["float32", "bfloat16", "mixed_bfloat16"]), st.floats(0.1, 0.99))
def test_every_bit_is_restored_in_every_dtype(dtype, sparsity):
    layer = keras.layers.Dense(10, dtype=dtype)
    model = compiled(keras.Sequential([keras.Input((64,)), layer]))
    kernel = values(layer.kernel)
    kernel[0, :3] = -0.0, 1e-39, -1e-39
    layer.kernel.assign(kernel)
    before = [bits(variable) for variable in model.weights]
    analysed(model, (sparsity,), (held_out()[0][:8], held_out()[1][:8]))
    assert [bits(variable) for variable in model.weights] == before


def test_a_value_that_is_not_finite_stays_in_the_table_and_ends_the_curve():
    class Third(keras.metrics.Metric):
        """No number in the third evaluation; each begins by a reset."""

        evaluations = 0

        def reset_state(self):
            self.evaluations += 1

        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return float("nan") if self.evaluations == 3 else 1.0

    model, third = network(), Third(name="third")
    model.compile("sgd", model.loss, metrics=[third], run_eagerly=True)
    model.evaluate(*held_out(), verbose=0)  # the first may reset it more than once
    third.evaluations = 0
    before = bits(model.layers[0].kernel)
    report = analysed(model, (0.5, 0.75), mode="max", exclude="classes", batch_size=200)
    assert report.rows[0].values[0] == 1 and np.isnan(report.rows[0].values[1])
    assert report.choose(max_drop=1) == {"net/hidden/kernel": 0.5}
    assert bits(model.layers[0].kernel) == before and "nan" in str(report)


# Models that are sparse


def test_a_sparse_weight_counts_its_zeros_and_a_cut_no_deeper_changes_nothing():
    model = compiled(perceptron(sparsity=0.8))
    fit(model)
    for layer in model.layers:
        fill_dead(layer, 7.0)
    before = state_but_metrics(model)
    report = analysed(model, (0.5, 0.8, 0.97))
    assert state_but_metrics(model) == before
    assert [row.shape for row in report.rows] == [(64, 24), (24, 10)]
    for row, weight in zip(report.rows, dsr.sparse_weights(model)):
        assert row.values[:2] == (report.baseline, report.baseline)
        raw, mask = values(weight.variable), values(weight.mask)
        kept = magnitude_mask(np.where(mask, raw, 0), active_units(row.size, 0.97))
        weight.variable.assign(np.where(kept, raw, 0))
        assert row.values[2] == model.evaluate(*held_out(), verbose=0)[1]
        weight.variable.assign(raw)


def test_the_weights_of_a_sparse_optimizer_are_analysed_once_it_has_drawn_its_masks():
    optimizer = dsr.SparseOptimizer("sgd", sparsity=0.7, select=".*/bias", seed=1)
    model = network(optimizer=optimizer)
    before = state_bits(model)
    with pytest.raises(ValueError, match=r"has not drawn its masks\. Call `model\.optimizer\.build"):
        analysed(model)
    assert state_bits(model) == before and not optimizer.built
    optimizer.build(model.trainable_variables)
    names = [row.name for row in analysed(model).rows]
    assert names == ["net/hidden/kernel", "net/hidden/bias", "net/classes/kernel", "net/classes/bias"]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsities": ()}, "in increasing order, such as"),
        ({"sparsities": (0.5, 0.5)}, "in increasing order"),
        ({"sparsities": (0.9, 0.5)}, "in increasing order"),
        ({"sparsities": 0.9}, "in increasing order"),
        ({"sparsities": (0.5, 1.0)}, "must be a number in [0, 1)"),
        ({"sparsities": (-0.1,)}, "must be a number in [0, 1)"),
        ({"mode": "up"}, "must be 'auto', 'max' or 'min'. Received: mode='up'"),
        ({"metric": "f1"}, "compiled with: 'accuracy', 'loss'. Received: metric='f1'"),
        ({"include": "nothing"}, "sensitivity(include=...) names something that the model does not have: 'nothing'"),
        ({"exclude": 3.5}, "A selector in sensitivity(exclude=...) must be a layer, "),
        ({"exclude": [3.5]}, "A selector in sensitivity(exclude=...) must be a layer, "),
        ({"exclude": ".*"}, "leaves no weight to analyse in 'net'. Left out: 'net/hidden/kernel' (excluded)"),
        ({"data": (digits()[0], digits()[1][:5])}, "arrays with the same number of examples"),
        ({"data": (digits()[0],)}, "Received: a tuple of 1 parts"),
        ({"data": (np.zeros((0, 64)), np.zeros(0))}, "at least one"),
        ({"data": digits()[0]}, "must be a tuple of arrays (x, y), or a data set"),
        ({"data": (batch for batch in [digits()])}, "can be read once: collect it in arrays). Received: generator"),
        ({"data": None}, "Received: NoneType"),
    ],
)
def test_wrong_arguments_are_refused_and_the_model_is_as_it_was(trained, arguments, message):
    assert_refused(trained, arguments, message)


def test_a_data_set_in_the_place_of_arrays_or_without_an_end_is_refused(trained):
    tf = pytest.importorskip("tensorflow")  # every backend reads its data sets
    one = tf.data.Dataset.from_tensors(digits())
    assert_refused(trained, {"data": one, "batch_size": 3}, "a data set has batches")
    assert_refused(trained, {"data": one.repeat()}, "endless data set: pass steps=")


def assert_refused(trained, arguments, message):
    before = state_but_metrics(trained)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        dsr.sensitivity(trained, **{"data": held_out(), "verbose": 0, **arguments})
    assert state_but_metrics(trained) == before


def test_a_model_that_is_not_built_or_not_compiled_is_refused():
    with pytest.raises(ValueError, match=r"sensitivity\(model=...\) needs weights .* has not been built: layer 'new'"):
        analysed(keras.Sequential([keras.layers.Dense(3, name="new")]))
    with pytest.raises(ValueError, match=r"has not been compiled\. Call `model\.compile"):
        analysed(keras.Sequential([keras.Input((64,)), keras.layers.Dense(3)]))


def test_a_model_whose_metric_is_not_finite_is_refused():
    model = network()
    model.layers[1].bias.assign(np.full(10, np.nan))
    with pytest.raises(ValueError, match="'loss' is no finite number. Received: nan"):
        analysed(model, metric="loss")


# The report


numbers_alone = pytest.mark.backends("torch")  # no backend does any of it


def report_of(rows, sparsities=(0.5, 0.8), baseline=0.9, mode="max"):
    rows = tuple(SensitivityRow(name, shape, tuple(row)) for name, shape, row in rows)
    return Sensitivity("accuracy", mode, baseline, tuple(sparsities), rows)


BY_HAND = [("steep/kernel", (10, 10), (0.8, 0.5)), ("gentle/kernel", (20, 10), (0.95, 0.85))]


@numbers_alone
def test_choose_reads_straight_lines_between_what_was_tried():
    report = report_of(BY_HAND)
    # steep: a drop of 0.1 at 0.5, of 0.4 at 0.8. gentle: better at 0.5, a drop of 0.05 at 0.8.
    for max_drop, steep, gentle in ((0, 0, 0.5), (0.02, 0.1, 0.62), (0.1, 0.5, 0.8), (0.25, 0.65, 0.8), (9, 0.8, 0.8)):
        chosen = report.choose(max_drop=max_drop)
        assert chosen == pytest.approx({"steep/kernel": steep, "gentle/kernel": gentle})
    as_loss = report_of([(name, shape, [-v for v in row]) for name, shape, row in BY_HAND], baseline=-0.9, mode="min")
    assert as_loss.choose(max_drop=0.02) == pytest.approx(report.choose(max_drop=0.02))


@numbers_alone
def test_choose_spreads_a_total_at_one_drop():
    report = report_of(BY_HAND)
    # At a drop of d <= 0.05 there are 500 d and 100 + 1200 d zeros: 0.5 * 300 are reached at d = 5 / 170.
    assert report.choose(total=0.5) == {"steep/kernel": 0.15, "gentle/kernel": 0.675}
    assert report.choose(total=0.2) == {"steep/kernel": 0, "gentle/kernel": 0.3}  # flat: no drop
    assert report.choose(total=0.8) == {"steep/kernel": 0.8, "gentle/kernel": 0.8}
    assert report.choose(total=0) == {"steep/kernel": 0, "gentle/kernel": 0}


@st.composite
def reports(draw):
    shapes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4))
    value = st.one_of(st.floats(-1, 2), st.sampled_from([0.5, 0.9]))
    rows = [(f"{index}/kernel", shape, draw(st.tuples(*[value] * 3))) for index, shape in enumerate(shapes)]
    return report_of(rows, (0.3, 0.6, 0.9))


@numbers_alone
@given(reports(), st.floats(0, 0.99), st.floats(0, 0.99))
def test_a_total_adds_up_as_sparsify_rounds_and_more_is_never_less_for_any_weight(report, one, other):
    sizes = [row.size for row in report.rows]
    deepest = sum(size - active_units(size, 0.9) for size in sizes) / sum(sizes)
    low, high = sorted((one * deepest, other * deepest))
    chosen = report.choose(total=low)
    zeros = [size - active_units(size, sparsity) for size, sparsity in zip(sizes, chosen.values())]
    assert sum(zeros) == round(low * sum(sizes))
    assert all(less <= more for less, more in zip(chosen.values(), report.choose(total=high).values()))


@numbers_alone
@given(reports(), st.floats(0, 2), st.floats(0, 2))
def test_a_larger_drop_is_never_less_sparse(report, one, other):
    low, high = (list(report.choose(max_drop=drop).values()) for drop in sorted((one, other)))
    assert all(0 <= less <= more < 1 for less, more in zip(low, high))


@numbers_alone
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "takes exactly one of max_drop=, the largest drop"),
        ({"max_drop": 0.1, "total": 0.5}, "Received: max_drop=0.1, total=0.5"),
        ({"max_drop": -0.1}, "choose(max_drop=...) must be a number at least 0, in the units of the metric"),
        ({"max_drop": float("nan")}, "Received: max_drop=nan"),
        ({"total": 1.0}, "choose(total=...) must be a number in [0, 1)"),
        ({"total": "half"}, "Received: total='half'"),
        ({"total": 0.81}, "is deeper than what was tried: cut to 0.8"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        report_of(BY_HAND).choose(**arguments)


@numbers_alone
def test_two_weights_of_one_path_cannot_be_told_apart():
    with pytest.raises(ValueError, match="several weights have the path 'steep/kernel'"):
        report_of([BY_HAND[0], BY_HAND[0]]).choose(max_drop=0.1)


def nested():
    inner = keras.Sequential([keras.Input((64,)), keras.layers.Dense(16, name="a"), keras.layers.Dense(8, name="b")])
    inputs = keras.Input((64,))
    return keras.Sequential([keras.Input((64,)), keras.Model(inputs, inner(inputs)), keras.layers.Dense(10, name="c")])


def with_special_characters():
    layers = [keras.layers.Dense(units, name=name) for units, name in ((16, "a.b"), (12, "a_b"), (10, "c>d"))]
    return keras.Sequential([keras.Input((64,)), *layers], name="m.1")


@pytest.mark.parametrize(
    "build",
    [
        network,
        nested,
        pytest.param(with_special_characters, marks=pytest.mark.backends("tensorflow", "jax")),  # torch takes no dots
    ],
)
def test_sparsify_takes_what_was_chosen_and_has_that_many_zeros(build):
    model = compiled(build())
    report = analysed(model)
    chosen = report.choose(total=0.6)
    made = dsr.sparsify(model, distribution=chosen, mask="magnitude")
    assert [row.name for row in made.rows] == list(chosen)
    assert [row.sparsity for row in made.rows] == pytest.approx(list(chosen.values()))
    assert made.size - made.active == round(0.6 * made.size)


def test_a_path_is_meant_by_itself_also_where_it_is_no_regular_expression():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, name="a(+"), keras.layers.Dense(10, name="b[")])
    chosen = {layer.kernel.path: sparsity for layer, sparsity in zip(model.layers, (0.5, 0.3))}
    report = dsr.sparsify(model, distribution=chosen)
    assert [row.sparsity for row in report.rows] == pytest.approx([0.5, 0.3])


@numbers_alone
def test_the_table_has_the_weights_down_and_the_sparsities_across():
    text = str(report_of(BY_HAND))
    for expected in ("accuracy (higher is better)", "As it is: 0.9000", "50%", "80%", "steep/kernel"):
        assert expected in text, text
    assert re.search(r"gentle/kernel .* 0\.9500 +0\.8500", text)
    many = report_of([("a/kernel", (3, 3), [0.5] * 30)], np.arange(30) / 30)
    assert str(many).count("0.5000") == 30


@numbers_alone
def test_the_plot_is_a_picture_that_opens_and_names_at_most_twenty_weights(tmp_path):
    rows = [(f"block{index}/convolution/kernel", (9, 9), (0.9 - index / 99, 0.5)) for index in range(50)]
    figure = report_of(rows).plot(tmp_path / "plot.png")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    axes = figure.axes[0]
    assert len(axes.lines) == 51
    assert axes.lines[0].get_ydata() == pytest.approx([0.9, 0.9, 0.5])
    legend = figure.legends[0]
    assert len(legend.get_texts()) == 21 and legend.get_title().get_text() == "weight (positions), 20 of 50"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sparsity of one weight alone (fraction of zeros)", "accuracy")
    with pytest.raises(FileNotFoundError, match="create it"):
        report_of(BY_HAND).plot(tmp_path / "none" / "plot.png")


@numbers_alone
def test_without_matplotlib_the_plot_says_how_to_get_it(monkeypatch):
    genuine = builtins.__import__

    def without(name, *arguments, **settings):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return genuine(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        report_of(BY_HAND).plot()


@numbers_alone
def test_the_default_sparsities_are_allowed():
    assert list(SPARSITIES) == sorted(SPARSITIES) and SPARSITIES[0] > 0 and SPARSITIES[-1] < 1
