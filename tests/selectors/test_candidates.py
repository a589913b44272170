import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.selectors.candidates import candidates
from tests.helpers.layer_kinds import ATTENTION, KINDS, LAYERS, model_of, stock_layer_of
from tests.helpers.networks import batch, values


class Own(keras.layers.Layer):
    """A user's layer with a weight of its own and a layer inside."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.inner = keras.layers.Dense(8, name="inner")

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(8,), name="scale")
        self.inner.build(input_shape)

    def call(self, x):
        return self.inner(x) * self.scale


class MyConv(keras.layers.Conv1D):
    pass


def small(*layers, shape=(8,)):
    return keras.Sequential([keras.Input(shape), *layers])


def listed(model):
    return [(one.layer.name, one.role, one.obstacle) for one in candidates(model)]


@pytest.mark.parametrize("kind", LAYERS)
def test_every_weight_of_every_kind_is_a_candidate_with_its_role(kind):
    model = model_of(kind, stock_layer_of(kind))
    found = candidates(model)
    assert sorted(one.role for one in found) == sorted(KINDS[kind].sparse_class.initializers)
    assert [one.obstacle for one in found] == [None] * len(found)
    assert [id(one.variable) for one in found] == [id(variable) for variable in model.trainable_variables]
    for one in found:
        assert (one.name, one.shape) == (one.variable.path, tuple(one.variable.shape))
        assert one.size == np.prod(one.variable.shape)
        assert one.owners[0] is model


@pytest.mark.parametrize("kind", ["lstm", "gru", "simple_rnn", "bidirectional", *ATTENTION])
def test_the_weights_of_a_container_are_those_of_its_layers(kind):
    model = model_of(kind, stock_layer_of(kind))
    container, found = model.layers[-1], candidates(model)
    assert all(one.owners[:2] == (model, container) and one.layer is not container for one in found)
    assert {one.obstacle for one in found} == {None}
    assert {id(one.variable) for one in found} == {id(variable) for variable in model.trainable_variables}


def test_each_weight_is_listed_once_in_the_order_of_the_model():
    inputs = keras.Input((8,))
    shared = keras.layers.Dense(8, name="shared")
    nested = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="first"), shared], name="nested")
    model = keras.Model(inputs, shared(nested(shared(inputs))))
    found = [(one.layer.name, one.role, tuple(owner.name for owner in one.owners[1:])) for one in candidates(model)]
    assert found == [
        ("shared", "kernel", ()),
        ("shared", "bias", ()),
        ("first", "kernel", ("nested",)),
        ("first", "bias", ("nested",)),
    ]


def test_weights_of_a_users_own_class_are_not_candidates_but_those_of_the_layers_in_it_are():
    assert listed(small(Own(name="own"))) == [
        ("own", "scale", "no sparse class for Own"),
        ("inner", "kernel", None),
        ("inner", "bias", None),
    ]


def test_a_frozen_weight_is_a_candidate():
    model = small(keras.layers.Dense(4, name="frozen", trainable=False))
    assert listed(model) == [("frozen", "kernel", None), ("frozen", "bias", None)]


def test_what_is_no_weight_to_train_is_none():
    model = small(keras.layers.BatchNormalization(name="norm"), keras.layers.Dropout(0.5), keras.layers.ReLU())
    assert [(one.role) for one in candidates(model)] == ["gamma", "beta"]
    assert candidates(small(keras.layers.ReLU())) == []


def test_missing_weights_are_none():
    model = small(keras.layers.Dense(4, use_bias=False), keras.layers.BatchNormalization(scale=False))
    assert [one.role for one in candidates(model)] == ["kernel", "beta"]


def test_every_obstacle_is_named():
    model = small(
        keras.layers.Dense(8, name="quantized"),
        keras.layers.Dense(8, name="lora"),
        keras.layers.SpectralNormalization(keras.layers.Dense(8, name="normalized")),
        dsr.SparseDense(8, name="sparse"),
        dsr.TiedDense(8, name="tied"),
        keras.layers.Reshape((8, 1)),
        MyConv(2, 3, name="mine"),
        keras.layers.PReLU(name="slope"),
    )
    model.get_layer("quantized").quantize("int8")
    model.get_layer("lora").enable_lora(2)
    obstacles = {one.name.split("/")[-2]: one.obstacle for one in candidates(model)}
    assert obstacles == {
        "quantized": "the layer is quantized (int8)",
        "lora": "the layer has LoRA weights",
        "normalized": "SpectralNormalization writes the kernel itself",
        "sparse": "the layer is sparse already",
        "tied": "its kernel shares the values of a bank (HashedNet)",
        "mine": "no sparse class for MyConv, a subclass of Conv1D",
        "slope": "no sparse class for PReLU",
    }
    normalized = [one.obstacle for one in candidates(model) if "/normalized/" in one.name]
    assert normalized == ["SpectralNormalization writes the kernel itself"] * 2


def test_looking_for_candidates_changes_nothing():
    model = small(Own(), keras.layers.Dense(4))
    variables, types = [id(variable) for variable in model.variables], [type(layer) for layer in model.layers]
    outputs = values(model(batch()[:, :8]))
    candidates(model)
    assert [id(variable) for variable in model.variables] == variables
    assert [type(layer) for layer in model.layers] == types
    np.testing.assert_array_equal(values(model(batch()[:, :8])), outputs)
