"""Layers that hold sparse layers: of ours, and of Keras."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.layers.registry import SPARSE_CONTAINER_OF
from tests.helpers.layer_kinds import masked_values, scrambled
from tests.helpers.networks import bits, values

SEQUENCES = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


def model_of(layer, *arguments):
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, layer(inputs, *[inputs for _ in arguments]))


def sparsities(model):
    return [(weight.role, round(1 - weight.count() / weight.size, 2)) for weight in dsr.sparse_weights(model)]


def stacked(seed=1):
    cells = [dsr.SparseLSTMCell(4, sparsity=0.5, mask_seed=seed), keras.layers.GRUCell(4)]
    return keras.layers.RNN(keras.layers.StackedRNNCells([*cells, dsr.SparseGRUCell(4, sparsity=0.75, mask_seed=seed)]))


def two_directions(seed=1):
    forward = dsr.SparseLSTM(4, sparsity={"kernel": 0.5}, mask_seed=seed)
    backward = dsr.SparseGRU(4, sparsity={"recurrent_kernel": 0.75}, mask_seed=seed, go_backwards=True)
    return dsr.SparseBidirectional(forward, backward_layer=backward)


def over_time(seed=1):
    return keras.layers.TimeDistributed(dsr.SparseDense(8, sparsity=0.75, mask_seed=seed))


def nested(seed=1):
    """A sparse layer in a container in a container."""
    inner = keras.layers.TimeDistributed(dsr.SparseDense(8, sparsity=0.75, mask_seed=seed))
    return keras.Sequential([keras.Input((5, 4)), inner, two_directions(seed)])


CONTAINERS = {
    "a cell": (lambda seed=1: keras.layers.RNN(dsr.SparseSimpleRNNCell(4, sparsity=0.5, mask_seed=seed)), 2),
    "stacked cells": (stacked, 4),
    "two directions": (two_directions, 2),
    "over time": (over_time, 1),
    "nested": (nested, 3),
}


SOME_FILES = {
    ("a cell", ".weights.h5"),
    ("stacked cells", ".keras"),
    ("two directions", ".weights.h5"),
    ("nested", ".keras"),
}


@pytest.mark.parametrize(
    ("make", "count", "suffix"),
    [
        pytest.param(
            *case,
            suffix,
            id=f"{name}-{suffix}",
            marks=[] if (name, suffix) in SOME_FILES | {("over time", ".keras")} else pytest.mark.thorough,
        )
        for name, case in CONTAINERS.items()
        for suffix in (".keras", ".weights.h5")
    ],
)
def test_sparse_layers_in_containers_go_through_files(tmp_path, make, count, suffix):
    model = scrambled(model_of(make()))
    expected = [(w.role, masked_values(w).tobytes(), bits(w.mask)) for w in dsr.sparse_weights(model)]
    assert len(expected) == count
    path = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(path)
    models = [model_of(make(seed=99))]
    models[0].load_weights(path)
    if suffix == ".keras":
        models.append(keras.models.load_model(path))
    for loaded in models:
        assert [(w.role, bits(w.variable), bits(w.mask)) for w in dsr.sparse_weights(loaded)] == expected
        assert bits(loaded(SEQUENCES)) == bits(model(SEQUENCES))


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("make", "count"), [CONTAINERS["stacked cells"], CONTAINERS["nested"]], ids=["stacked cells", "nested"]
)
def test_containers_are_trained_with_dead_weights_at_zero(make, count):
    model = model_of(make())
    model.compile(keras.optimizers.AdamW(0.01), "mse", jit_compile=keras.backend.backend() == "jax")
    before = [values(weight.variable) for weight in dsr.sparse_weights(model)]
    model.fit(SEQUENCES, np.ones((3, *model.output_shape[1:])), epochs=2, verbose=0)
    for weight, old in zip(dsr.sparse_weights(model), before):
        assert (values(weight.variable) != old)[values(weight.mask)].any()
        assert not masked_values(weight)[~values(weight.mask)].any()
        assert np.array_equal(masked_values(weight), values(getattr(weight.layer, weight.role)))


def test_two_directions_are_sparse_each_in_its_own_way():
    assert sparsities(model_of(two_directions())) == [("kernel", 0.5), ("recurrent_kernel", 0.75)]


def test_a_recurrent_layer_has_the_configuration_and_masks_of_its_cell():
    layer = dsr.SparseLSTM(4, sparsity={"kernel": 0.5, "recurrent_kernel": 0.75}, mask_seed=7)
    model_of(layer)
    cell = dsr.SparseLSTMCell(4, sparsity={"kernel": 0.5, "recurrent_kernel": 0.75}, mask_seed=7)
    cell.build((None, 4))
    assert layer.get_config()["sparsity"] == {"kernel": 0.5, "recurrent_kernel": 0.75}
    assert bits(layer.cell.kernel_mask) == bits(cell.kernel_mask)
    assert bits(layer.cell.recurrent_kernel_mask) == bits(cell.recurrent_kernel_mask)


@pytest.mark.parametrize("settings", [{"unroll": True}, {"go_backwards": True}, {"return_sequences": True}])
def test_a_recurrent_layer_is_sparse_however_it_runs(settings):
    sparse, stock = dsr.SparseGRU(4, sparsity=0.5, **settings), keras.layers.GRU(4, **settings)
    model, twin = scrambled(model_of(sparse)), model_of(stock)
    twin.set_weights([*(masked_values(weight) for weight in dsr.sparse_weights(model)), values(sparse.cell.bias)])
    assert bits(model(SEQUENCES)) == bits(twin(SEQUENCES))


def test_a_stateful_recurrent_layer_goes_on_from_its_state():
    inputs = keras.Input(batch_shape=(3, 5, 4))
    model = keras.Model(inputs, dsr.SparseLSTM(4, sparsity=0.5, stateful=True)(inputs))
    first, second = values(model(SEQUENCES)), values(model(SEQUENCES))
    assert (first != second).any()


ATTENTION = {
    "multi_head": lambda **k: dsr.SparseMultiHeadAttention(2, 4, **k),
    "group_query": lambda **k: dsr.SparseGroupQueryAttention(4, 4, 2, **k),
}
every_attention = pytest.mark.parametrize("make", ATTENTION.values(), ids=ATTENTION)


@every_attention
def test_projections_are_sparse_each_in_its_own_way(make):
    layer = make(sparsity={"query": 0.5, "attention_output": {"kernel": 0.75, "bias": 0.5}})
    model = model_of(layer, "value")
    found = {(weight.layer.name, weight.role): weight.count() / weight.size for weight in dsr.sparse_weights(model)}
    assert found == {
        ("query", "kernel"): 0.5,
        ("attention_output", "kernel"): 0.25,
        ("attention_output", "bias"): 0.5,
    }
    again = type(layer).from_config(layer.get_config())
    model_of(again, "value")
    assert again.get_config() == layer.get_config()
    kinds = [type(getattr(again, name)).__name__ for name in ("_query_dense", "_key_dense", "_output_dense")]
    assert kinds == ["SparseEinsumDense", "EinsumDense", "SparseEinsumDense"]


@every_attention
def test_projections_of_one_sparsity_have_masks_of_their_own(make):
    masks = [values(weight.mask) for weight in dsr.sparse_weights(model_of(make(sparsity=0.5, mask_seed=1), "value"))]
    assert len(masks) == 4
    assert len({mask.tobytes() for mask in masks}) == 4


@every_attention
def test_an_unknown_projection_is_refused_at_once(make):
    with pytest.raises(ValueError, match=r"Attention\(sparsity=\.\.\.\) must name projections, .*'queries' in"):
        make(sparsity={"queries": 0.5})
    with pytest.raises(ValueError, match=r"must name weights of the layer that can be sparse, .*'weight' in"):
        make(sparsity={"query": {"weight": 0.5}})


def test_a_gate_is_a_projection_too():
    layer = dsr.SparseMultiHeadAttention(2, 4, use_gate=True, sparsity={"gate": 0.5})
    assert [weight.layer.name for weight in dsr.sparse_weights(model_of(layer, "value"))] == ["gate"]


def test_attention_of_other_dimensions_is_built_and_loaded(tmp_path):
    query, value, key = keras.Input((5, 4)), keras.Input((6, 3)), keras.Input((6, 2))
    value_dim = 4 if keras.backend.backend() == "jax" else 3  # Keras's attention on JAX needs that of the keys
    layer = dsr.SparseMultiHeadAttention(2, 4, value_dim=value_dim, output_shape=7, sparsity=0.5)
    outputs = layer(query, value, key)
    model = scrambled(keras.Model([query, value, key], outputs))
    model.save(tmp_path / "model.keras")
    arrays = [np.random.default_rng(0).normal(size=(2, *shape)) for shape in ((5, 4), (6, 3), (6, 2))]
    assert bits(keras.models.load_model(tmp_path / "model.keras")(arrays)) == bits(model(arrays))


@pytest.mark.parametrize("container", list(SPARSE_CONTAINER_OF.values()))
def test_an_unbuilt_container_has_a_configuration(container):
    arguments = {
        dsr.SparseBidirectional: [dsr.SparseGRU(4, sparsity=0.5)],
        dsr.SparseMultiHeadAttention: [2, 4],
        dsr.SparseGroupQueryAttention: [4, 4, 2],
    }
    layer = container(*arguments.get(container, [4]))
    assert container.from_config(layer.get_config()).get_config() == layer.get_config()
