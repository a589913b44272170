"""Blocks of weights that are pruned and grown as wholes, in layers of every kind and in `SparseOptimizer`."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.methods import DSD, DSR, SET, SNFS, DeepR, GradualPruning, RigL
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.layer_kinds import KINDS, model_of
from tests.helpers.networks import bits, compiled, state_bits, values
from tests.helpers.networks_of_groups import trained

BLOCK = (4, 1)


def network(by: str = "layers", pattern=BLOCK, sparsity: float = 0.6, optimizer="adam") -> keras.Model:
    """10 inputs by 7 by 5 and a convolution: blocks of 4 do not divide the inputs of any but the first layer."""
    sparse = by == "layers"
    settings = {"sparsity": sparsity, "pattern": pattern} if sparse else {}
    conv, dense = (dsr.SparseConv2D, dsr.SparseDense) if sparse else (keras.layers.Conv2D, keras.layers.Dense)
    seeds = [{"mask_seed": seed} if sparse else {} for seed in range(3)]
    model = keras.Sequential(
        [
            keras.Input((5, 5, 8)),
            conv(10, 3, **seeds[0], **settings),
            keras.layers.GlobalAveragePooling2D(),
            dense(7, activation="relu", **seeds[1], **settings),
            dense(5, **seeds[2], **settings),
        ]
    )
    if sparse:
        return compiled(model, optimizer)
    compiled(model, dsr.SparseOptimizer(optimizer, sparsity, pattern=pattern, seed=1))
    model.optimizer.build(model.trainable_variables)
    return model


def active_blocks(model, block=BLOCK) -> list[int]:
    """The active blocks of each weight, counted one by one; none may be partly there."""
    counts = []
    for weight in dsr.sparse_weights(model):
        mask = values(weight.mask).reshape(-1, *weight.shape[-2:])
        blocks = [
            mask[matrix, row : row + block[0], column : column + block[1]]
            for matrix in range(len(mask))
            for row in range(0, mask.shape[1], block[0])
            for column in range(0, mask.shape[2], block[1])
        ]
        assert all(one.all() == one.any() for one in blocks)
        counts.append(sum(bool(one.any()) for one in blocks))
        assert weight.active_units() == counts[-1]
        assert not (values(weight.variable)[~values(weight.mask)] != 0).any() or weight.holder is weight.layer
    return counts


TOTALS = [9 * 2 * 10, 3 * 7, 2 * 5]  # blocks of each weight of the network
METHODS = [
    DSR(target=0.3, initial_threshold=0.1),
    DSR(target=0.3, growth="initializer"),
    SET(0.3),
    GradualPruning(initial_sparsity=0.6, final_sparsity=0.8, end_step=3),
    DSD([(0, 0.6), (2, 0.8)]),
]


@pytest.mark.parametrize("by", ["layers", "optimizer"])
def test_masks_are_drawn_in_whole_blocks(by):
    assert active_blocks(network(by)) == [round(0.4 * total) for total in TOTALS]


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each example
@pytest.mark.slow_on("tensorflow")
@settings(max_examples=5)
@given(
    method=st.sampled_from(METHODS),
    block=st.sampled_from([(4, 1), (1, 3), (2, 2), (16, 1)]),
    sparsity=st.sampled_from([0.3, 0.6, 0.95]),
    seed=st.integers(0, 2**31 - 1),
)
def test_reallocation_keeps_blocks_whole_and_their_number_exact(method, block, sparsity, seed):
    model = network(pattern=block, sparsity=sparsity)
    model.optimizer.build(model.trainable_variables)
    weights, before = dsr.sparse_weights(model), active_blocks(model, block)
    reallocate, rng = Reallocation(model, method, seed), np.random.default_rng(seed)
    for step in range(4):
        model.optimizer.iterations.assign(step)
        for weight in weights:
            weight.variable.assign(rng.normal(size=weight.shape) * 0.1 * values(weight.mask))
        outcome = reallocate()
        after = active_blocks(model, block)
        assert outcome.active.tolist() == reallocate.active().tolist() == after
        assert sum(after) == sum(before) or not method.conserves
        assert after == before or not isinstance(method, SET)
        for weight in weights:
            weight.check()  # the record has the weights that there are, of blocks that are cut off too
        before = after


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    "method",
    [
        DSR(target=0.3),
        *(pytest.param(one, marks=pytest.mark.slow_on("tensorflow", "jax")) for one in (SET(0.3), SNFS(end_step=100))),
        RigL(end_step=100),
    ],
)
def test_training_with_an_optimizer_moves_whole_blocks(method):
    model = network("optimizer")
    before = active_blocks(model)
    history = trained(model, dsr.Reallocate(method, period=3)).history
    assert sum(active_blocks(model)) == sum(before)
    assert max(history["dsr_pruned"]) > 0
    slices = network("optimizer", pattern="kernel")
    mask = values(dsr.sparse_weights(slices)[0].mask)
    assert (mask.all((0, 1)) == mask.any((0, 1))).all() and mask.sum() == 9 * 32


def test_the_smallest_blocks_are_pruned_whole():
    layer = dsr.SparseDense(1, sparsity=0.0, pattern=(2, 1), use_bias=False)
    model = compiled(keras.Sequential([keras.Input((5,)), layer]), "sgd")
    layer.variable_of("kernel").assign([[3.0], [0.0], [1.0], [-1.5], [1.4]])  # means 1.5, 1.25 and, of one alone, 1.4
    reallocate = Reallocation(model, GradualPruning(final_sparsity=1 / 3, end_step=1))
    model.optimizer.iterations.assign(5)
    assert reallocate().active.tolist() == [2]
    assert values(layer.kernel_mask)[:, 0].tolist() == [True, True, False, False, True]
    weight = dsr.sparse_weights(model)[0]
    assert (weight.count(), weight.active_units()) == (3, 2)
    weight.check()


@pytest.mark.parametrize("by", ["layers", "optimizer"])
@pytest.mark.slow_on("tensorflow", "jax")
def test_a_saved_model_trains_on_to_the_same_bits(by, tmp_path):
    def train(model):
        trained(model, dsr.DSRCallback(target=8, period=3))

    keras.utils.set_random_seed(1)
    whole = network(by)
    train(whole)
    whole.save(tmp_path / "model.keras")
    train(whole)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {weight.pattern for weight in dsr.sparse_weights(loaded)} == {BLOCK}
    train(loaded)
    assert state_bits(loaded) == state_bits(whole)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "normalization" not in kind])  # they have vectors alone
@pytest.mark.slow_on("tensorflow", "jax")
def test_a_layer_of_any_kind_has_blocks_and_is_loaded_with_them(kind, tmp_path):
    model = model_of(kind, sparsity=0.5, pattern=BLOCK)
    weights = dsr.sparse_weights(model)
    for weight in weights:
        weight.check()
        assert weight.active_units() == max(1, round(0.5 * weight.units.count(weight.shape)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for weight, same in zip(weights, dsr.sparse_weights(loaded), strict=True):
        assert (bits(weight.mask), weight.units) == (bits(same.mask), same.units)
        np.testing.assert_array_equal(weight.values(), same.values())


def test_a_model_is_made_of_blocks_by_magnitude_and_back():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6, name="a"), keras.layers.Dense(5, name="b")])
    kernel = values(model.layers[0].kernel)
    report = dsr.sparsify(model, 0.5, pattern=(4, 1), mask="magnitude")
    means = np.abs(kernel).reshape(2, 4, 6).mean(1)
    active = dsr.sparse_weights(model)[0].active_units()
    chosen = means >= np.sort(means.reshape(-1))[-active]
    np.testing.assert_array_equal(values(model.layers[0].kernel_mask), np.repeat(chosen, 4, axis=0))
    assert report.active == sum(weight.count() for weight in dsr.sparse_weights(model))
    assert sum(weight.active_units() for weight in dsr.sparse_weights(model)) == 6 + 5
    dsr.sparsify(model, 0.5, pattern=(4, 1))  # all of it is sparse already, as asked for
    dsr.densify(model)
    assert type(model.layers[0]) is keras.layers.Dense


def test_what_does_not_fit_is_refused_in_words(tmp_path):
    def fails(match, make):
        with pytest.raises(ValueError, match=match):
            make()

    model = network()
    fails("DeepR needs pattern='element'", lambda: Reallocation(model, DeepR()))
    fails(r"SET\(rule='signed'\) needs pattern='element'", lambda: Reallocation(model, SET(rule="signed")))
    fails(
        "in compact storage a layer has single weights, or slices",
        lambda: dsr.SparseDense(3, pattern=BLOCK, storage="compact"),
    )
    fails(
        "'bias' of SparseDense .* Leave it dense",
        lambda: dsr.SparseDense(3, pattern=BLOCK, sparsity={"bias": 0.5}).build((None, 4)),
    )
    mixed = keras.Sequential([keras.Input((8,)), dsr.SparseDense(4, pattern=BLOCK), dsr.SparseDense(4, pattern=(2, 1))])
    fails(r"must have the same pattern.*\(2, 1\).*\(4, 1\)", lambda: Reallocation(compiled(mixed), DSR()))
    single = network(pattern="element")
    single.save_weights(tmp_path / "single.weights.h5")
    before = state_bits(model.layers[0])
    fails(
        "must consist of whole blocks of 4 x 1 of 4 weights", lambda: model.load_weights(tmp_path / "single.weights.h5")
    )
    assert state_bits(model.layers[0]) == before
    weight = dsr.sparse_weights(model)[1]
    mask = values(weight.mask).copy()
    mask[:, 0] = np.arange(10) < 3
    fails("some of which are partly there", lambda: weight.set_mask(mask))


def test_auto_storage_of_blocks_is_masked_and_says_why():
    layer = dsr.SparseDense(8, sparsity=0.9, pattern=BLOCK, storage="auto")
    layer.build((32, 16))
    assert type(layer) is dsr.SparseDense
    assert "in compact storage a layer has single weights, or slices" in layer.storage_choice.why


def test_the_number_of_weights_of_blocks_that_divide_is_that_of_the_sparsity():
    layer = dsr.SparseDense(6, sparsity=0.75, pattern=BLOCK)
    layer.build((None, 16))
    assert values(layer.kernel_mask).sum() == math.prod((16, 6)) // 4
