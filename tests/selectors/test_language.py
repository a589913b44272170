"""One language: what a selector means to one function it means to all that choose among weights."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_dsr as dsr
from keras_dsr.backend.keras_owners import layers_alive
from keras_dsr.optimizers.sparse_optimizer import SparseOptimizer
from keras_dsr.selectors.candidates import candidates_among
from keras_dsr.selectors.selection import is_kernel_by_name
from tests.helpers.networks import values

pytestmark = pytest.mark.once


def network() -> keras.Model:
    """A block of a convolution of one filter and a dense layer, and a head."""
    block = keras.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(1, 3, name="convolution"),
            layers.Flatten(),
            layers.Dense(7, name="a+b"),
        ],
        name="block",
    )
    x = inputs = keras.Input((6, 6, 2))
    x = layers.DepthwiseConv2D(2, padding="same", name="depthwise")(x)
    x = layers.BatchNormalization(name="normalization")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(block(x)), name="whole")


def layer_of(path: str) -> str:
    return path.split("/")[-2]


def is_wide(variable) -> bool:
    return variable.shape[-1] == 7


BY_DEFAULT = {"convolution", "a+b", "head"}
SELECTORS = [
    (lambda model: "head", {"head"}),
    (lambda model: "a+b", {"a+b"}),
    (lambda model: "block", {"convolution", "a+b"}),
    (lambda model: model.get_layer("head"), {"head"}),
    (lambda model: model.get_layer("block"), {"convolution", "a+b"}),
    (lambda model: layers.Dense, {"a+b", "head"}),
    (lambda model: keras.Sequential, {"convolution", "a+b"}),
    (lambda model: "head/kernel", {"head"}),
    (lambda model: ".*convolution/kernel", {"convolution"}),
    (lambda model: is_wide, {"a+b"}),
    (lambda model: ["head", layers.Conv2D], {"head", "convolution"}),
]
each_selector = pytest.mark.parametrize(("selector", "expected"), SELECTORS)


def sparse_names(model: keras.Model) -> set[str]:
    return {layer_of(weight.name) for weight in dsr.sparse_weights(model) if weight.count() < weight.size}


@each_selector
def test_sparsify_and_the_optimizer_mean_the_same(selector, expected):
    model = network()
    chosen = selector(model)
    optimizer = SparseOptimizer("sgd", sparsity=0.5, select=chosen)
    optimizer.build(model.trainable_variables)
    kernels = [sparse.name for sparse in optimizer.sparse_variables if not sparse.name.endswith("bias")]
    assert set(map(layer_of, kernels)) == expected

    report = dsr.sparsify(network(), 0.5, exclude=_for(chosen, model, network()))
    assert len(report.rows) == len(BY_DEFAULT - expected)

    dsr.sparsify(model, 0.5, exclude=chosen)
    assert sparse_names(model) == BY_DEFAULT - expected


def _for(chosen, model: keras.Model, other: keras.Model):
    """The same selector, by names where it is a layer of one model."""
    if isinstance(chosen, list):
        return [_for(one, model, other) for one in chosen]
    return chosen.name if isinstance(chosen, keras.layers.Layer) else chosen


@each_selector
def test_dense_sparse_dense_and_sensitivity_mean_the_same(selector, expected):
    model = network()
    model.compile("sgd", "mse")
    inputs, targets = np.zeros((4, 6, 6, 2), "float32"), np.zeros((4, 3), "float32")
    rows = dsr.sensitivity(model, (inputs, targets), [0.5], exclude=selector(model)).rows
    assert {layer_of(row.name) for row in rows} == BY_DEFAULT - expected

    callback = dsr.DSDCallback(
        0.5, dense_steps=0, sparse_steps=1, exclude=selector(model), cut_first_convolution=True, verbose=0
    )
    cut = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: cut.append(sparse_names(model)))
    model.fit(inputs, targets, batch_size=4, epochs=1, verbose=0, callbacks=[callback, watch])
    assert cut[0] == BY_DEFAULT - expected


@each_selector
def test_a_report_shows_the_masks_that_are_meant(selector, expected, tmp_path):
    model = network()
    dsr.sparsify(model, 0.5)
    dsr.report(model, tmp_path / "page.html", masks=selector(model), batch_sizes=None)
    page = (tmp_path / "page.html").read_text()
    assert {layer_of(path) for path in re.findall(r'alt="Picture of the mask of ([^:]*):', page)} == expected


def test_what_is_sparse_by_default_is_the_same_in_layers_and_in_the_optimizer():
    model = network()
    optimizer = SparseOptimizer("sgd", sparsity=0.5)
    optimizer.build(model.trainable_variables)
    names = [sparse.name for sparse in optimizer.sparse_variables]
    assert names == [row.name for row in dsr.sparsify(network(), 0.5).rows]
    assert len(names) == len(BY_DEFAULT)


@pytest.mark.parametrize("select", [layers.Dense, [layers.Dense, "convolution"], "head", None])
def test_a_selection_is_saved(select, tmp_path):
    model = network()
    model.compile(SparseOptimizer("sgd", sparsity=0.5, select=select, seed=1), "mse")
    model.fit(np.zeros((4, 6, 6, 2)), np.zeros((4, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    assert other.optimizer.select == select
    assert sparse_names(other) == sparse_names(model)


def test_a_layer_is_saved_by_its_name(tmp_path):
    model = network()
    model.compile(SparseOptimizer("sgd", sparsity=0.5, select=model.get_layer("head")), "mse")
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").optimizer.select == "head"


class Unregistered(layers.Dense):
    pass


def test_a_class_that_keras_does_not_know_is_named_when_it_is_loaded():
    config = SparseOptimizer("sgd", select=Unregistered).get_config()
    with pytest.raises(ValueError, match=r"selected by the class .*Unregistered', which is not registered\. Register"):
        SparseOptimizer.from_config(config)
    known = SparseOptimizer.from_config(config, {config["select"]["layers_of_class"]: Unregistered})
    assert known.select is Unregistered


def test_a_file_of_the_first_version_keeps_what_that_one_made_sparse():
    config = SparseOptimizer("sgd").get_config() | {"select": None}
    optimizer = SparseOptimizer.from_config(config)
    assert optimizer.select is is_kernel_by_name
    optimizer.build(network().trainable_variables)
    assert len(optimizer.sparse_variables) == 2  # not the convolution, whose single filter it took for a depthwise one
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert again.select is is_kernel_by_name


@pytest.mark.parametrize(
    "call",
    [
        lambda model, given: dsr.sparsify(model, exclude=given),
        lambda model, given: dsr.sparsify(model, distribution={given: 0.5} if given != 3.5 else {3.5: 0.5}),
        lambda model, given: SparseOptimizer("sgd", select=given).build(model.trainable_variables),
        lambda model, given: dsr.DSDCallback(0.5, 1, 1, exclude=given),
    ],
)
def test_no_selector_is_refused_in_the_same_words(call):
    with pytest.raises(
        ValueError, match=r"must be a layer, a class of layers, a regular expression .* Received: .*3\.5"
    ):
        call(network(), 3.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: dsr.sparsify(model, exclude="tail"),
        lambda model: SparseOptimizer("sgd", select="tail").build(model.trainable_variables),
    ],
)
def test_what_matches_nothing_is_refused_in_the_same_words(call):
    with pytest.raises(ValueError, match=r"names something that the model does not have: 'tail' .*convolution/kernel'"):
        call(network())


# Variables that come without their model


def test_variables_are_known_by_the_model_that_has_all_of_them():
    model = network()
    variables = model.trainable_variables
    found = candidates_among(variables, layers_alive())
    assert [id(one.variable) for one in found] == list(map(id, variables))
    assert all(one.owners[0] is model for one in found)


def test_variables_of_a_layer_in_no_model_and_of_none():
    layer = layers.Dense(3, name="lonely")
    layer.build((None, 4))
    loose = keras.Variable(np.ones((4, 4)), name="kernel")
    found = candidates_among([*layer.trainable_variables, loose], layers_alive())
    assert [one.layer for one in found] == [layer, layer, None]
    optimizer = SparseOptimizer("sgd", sparsity=0.5, select="lonely")
    optimizer.build([*layer.trainable_variables, loose])
    assert [sparse.variable for sparse in optimizer.sparse_variables] == [layer.kernel]
    by_default = SparseOptimizer("sgd", sparsity=0.5)
    by_default.build([*layer.trainable_variables, loose])
    assert [values(sparse.mask).sum() for sparse in by_default.sparse_variables] == [6, 8]
