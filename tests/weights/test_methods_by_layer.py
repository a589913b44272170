"""Several methods at once, each of the layers that a selector names."""

import keras
import pytest

import keras_dsr as dsr
from keras_dsr.methods import DSR, SET, DeepR, RigL, Static
from tests.helpers.networks import bits, compiled, fit, state_bits


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    sizes = {"first": (24, (4, 1)), "second": (24, "element"), "third": (16, "element"), "classes": (10, "element")}
    layers = [
        dsr.SparseDense(size, sparsity=0.8, pattern=pattern, mask_seed=index, name=name)
        for index, (name, (size, pattern)) in enumerate(sizes.items())
    ]
    return compiled(keras.Sequential([keras.Input((64,)), *layers]), keras.optimizers.SGD(0.1))


def counts(model) -> list[int]:
    return [weight.count() for weight in dsr.sparse_weights(model)]


def test_each_method_moves_its_own_and_keeps_its_own_budget():
    model = network()
    before, masks = counts(model), [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    methods = {"first": SET(0.3), "second|third": DSR(target=0.3, initial_threshold=0.1)}
    history = fit(model, dsr.Reallocate(methods, period=2), batches=6).history
    now = counts(model)
    assert now[0] == before[0] and now[3] == before[3]  # SET keeps its number, and no selector names the last
    assert now[1] + now[2] == before[1] + before[2]
    moved = [bits(weight.mask) != mask for weight, mask in zip(dsr.sparse_weights(model), masks)]
    assert moved == [True, True, True, False]
    assert history["dsr_reallocations"] == [6] and history["dsr_pruned"][0] > 0 and history["dsr_pruned_2"][0] > 0


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_part_does_what_it_does_alone():
    alone, among = network(), network()
    fit(alone, dsr.Reallocate({"second": SET(0.3)}, period=3), batches=3)
    fit(among, dsr.Reallocate({"second": SET(0.3), "third": Static()}, period=3), batches=3)
    for weight, other in zip(dsr.sparse_weights(alone), dsr.sparse_weights(among)):
        assert bits(weight.mask) == bits(other.mask) and bits(weight.variable) == bits(other.variable)


@pytest.mark.slow_on("tensorflow", "jax")
def test_each_part_has_a_threshold_of_its_own_also_in_compact_storage():
    layers = [
        dsr.SparseDense(40, sparsity=0.9, mask_seed=1, name="a"),
        dsr.SparseDense(40, sparsity=0.9, mask_seed=2, name="b", storage="compact"),
        keras.layers.Dense(10),
    ]
    model = compiled(keras.Sequential([keras.Input((64,)), *layers]), keras.optimizers.SGD(0.1))
    before = counts(model)
    methods = {"a": DSR(target=0.5, initial_threshold=0.25), "b": DSR(target=0.5, initial_threshold=0.0625)}
    history = fit(model, dsr.Reallocate(methods, period=100), batches=2).history
    assert history["dsr_threshold"] == [0.25] and history["dsr_threshold_2"] == [0.0625]
    fit(model, dsr.Reallocate(methods, period=1), batches=4)
    assert counts(model) == before


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_saved_run_goes_on_and_the_callback_is_used_again(tmp_path):
    def callback():
        return dsr.Reallocate({"second": RigL(0.3, end_step=100), "third": SET(0.3)}, period=2)

    whole, stopped, once = network(), network(), callback()
    for _ in range(2):
        fit(whole, once, batches=5)
    fit(stopped, callback(), batches=5)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(loaded, callback(), batches=5)
    assert state_bits(loaded) == state_bits(whole)


@pytest.mark.once
def test_what_cannot_be_is_refused():
    model = network()
    with pytest.raises(ValueError, match="two methods for .*second/kernel.*'second' and 'se.*'.*one at most"):
        dsr.Reallocator(model, {"second": SET(), "se.*": SET()})
    with pytest.raises(ValueError, match="'nosuch' matches no layer"):
        dsr.Reallocator(model, {"nosuch": SET()})
    model.get_layer("second").trainable = False
    with pytest.raises(ValueError, match="names no sparse weight that may move.*'second'"):
        dsr.Reallocator(model, {"second": SET()})
    with pytest.raises(ValueError, match="a mapping from selectors of layers to methods. Received: method={}"):
        dsr.Reallocate({})
    with pytest.raises(TypeError, match="must be a method.*a class: make an instance"):
        dsr.Reallocate({"second": SET})
    with pytest.raises(ValueError, match="A selector in Reallocate.method=....*Received: method=3"):
        dsr.Reallocate({3: SET()})
    with pytest.raises(ValueError, match="DeepR acts after every step"):
        dsr.Reallocate({"second": SET(), "third": DeepR()}, period=5)
    stock = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(4, name="b")])
    compiled(stock, dsr.SparseOptimizer("sgd", 0.5)).optimizer.build(stock.trainable_variables)
    assert len(dsr.Reallocator(stock, {"a": RigL()}).reallocations) == 1
    with pytest.raises(ValueError, match="2 methods for weights of a SparseOptimizer.*one threshold.*RigL.*DSR"):
        dsr.Reallocator(stock, {"a": RigL(), "b": DSR()})
    with pytest.raises(ValueError, match="same pattern"):
        dsr.Reallocator(network(), {"first|second": SET()})
