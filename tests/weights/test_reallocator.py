"""Who trains the weights, when it is due, and loops of one's own."""

import contextlib

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.layers.record import Record
from keras_dsr.methods import DSR, SET, GradualPruning, RigL, Static
from tests.helpers.networks import (
    active_counts,
    batch,
    bits,
    compiled,
    digits,
    fit,
    perceptron,
    selected,
    state_bits,
    values,
)

in_graphs = pytest.mark.backends("tensorflow")  # training steps of one's own, by GradientTape
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def gradients_of(net, x, y):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = CLASSES(y, net(x, training=True))
    return loss, tape.gradient(loss, net.trainable_variables)


class TwoNetworks(keras.Model):
    """Two networks with an optimizer each, no `call`, compiled without an optimizer, as a GAN is."""

    def __init__(self, one, other, steps_of_other=1):
        super().__init__()
        self.one, self.other, self.steps_of_other = one, other, steps_of_other
        self.optimizer_of_one, self.optimizer_of_other = keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.01)

    def train_step(self, data):
        x, y = data
        loss, gradients = gradients_of(self.one, x, y)
        self.optimizer_of_one.apply_gradients(zip(gradients, self.one.trainable_variables))
        for _ in range(self.steps_of_other):
            _, gradients = gradients_of(self.other, x, y)
            self.optimizer_of_other.apply_gradients(zip(gradients, self.other.trainable_variables))
        return {"loss": loss}


# Who trains


@in_graphs
def test_each_network_moves_by_the_steps_of_its_own_optimizer():
    model = TwoNetworks(perceptron(), perceptron(seed=5, hidden=16), steps_of_other=3)
    model.compile()
    before = [sum(active_counts(model.one)), sum(active_counts(model.other))]
    callback = dsr.Reallocate(SET(0.3), period=4)
    history = fit(model, callback, batches=8).history
    assert int(model.optimizer_of_one.iterations) == 8 and int(model.optimizer_of_other.iterations) == 24
    assert history["dsr_reallocations"] == [2 + 6]  # at 4 and 8 of 8 steps; at 6, 9, 12, 18, 21 and 24 of 24
    assert [sum(active_counts(model.one)), sum(active_counts(model.other))] == before
    assert {"dsr_pruned", "dsr_pruned_2"} <= set(history)


@in_graphs
def test_slots_are_cleared_in_the_optimizer_that_trains():
    model = TwoNetworks(perceptron(), perceptron(seed=5))
    model.compile()
    fit(model, batches=2)
    fit(model, dsr.DSRCallback(target=40, period=2), batches=2)
    for weight in dsr.sparse_weights(model.other):
        momenta = [variable for variable in model.optimizer_of_other.variables if tuple(variable.shape) == weight.shape]
        assert len(momenta) >= 2
        dead = ~values(weight.mask)
        assert all((values(momentum)[dead] == 0).all() for momentum in momenta if "kernel" in momentum.path)


@in_graphs
def test_a_network_that_nothing_trains_is_an_error_that_names_the_optimizer():
    class ByHand(keras.Model):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def train_step(self, data):
            loss, gradients = gradients_of(self.net, *data)
            for variable, gradient in zip(self.net.trainable_variables, gradients):
                variable.assign(variable - 0.1 * gradient)
            return {"loss": loss}

    model = ByHand(perceptron())
    model.compile("adam")
    with pytest.raises(
        RuntimeError, match="6 batches have passed, and no Keras optimizer .*'adam.*', which takes no steps"
    ):
        fit(model, dsr.DSRCallback(target=20, period=2), batches=6)


@in_graphs
def test_a_model_without_call_is_made_sparse_saved_and_made_dense():
    model = TwoNetworks(compiled(stock()), compiled(stock()))
    report = dsr.sparsify(model, sparsity=0.75)
    assert [row.active for row in report.rows] == [384, 60, 384, 60]
    assert len(dsr.sparse_weights(model)) == 4 and dsr.summary(model).active == 888
    dsr.densify(model)
    assert dsr.sparse_weights(model) == []


def stock():
    return keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(24, "relu", name="hidden"), keras.layers.Dense(10, name="classes")]
    )


# What is frozen


@pytest.mark.parametrize("method", [DSR(40, 0.05), SET(0.3), GradualPruning(0.8, 0.95, end_step=4)], ids=type)
def test_a_frozen_layer_keeps_every_bit_and_the_others_their_budget(method):
    model = perceptron()
    model.get_layer("hidden").trainable = False
    compiled(model)
    frozen, moving = dsr.sparse_weights(model)
    before = [bits(frozen.variable), bits(frozen.mask), moving.count(), bits(moving.mask)]
    fit(model, dsr.Reallocate(method, period=2), batches=6)
    assert [bits(frozen.variable), bits(frozen.mask)] == before[:2]
    assert bits(moving.mask) != before[3]
    assert moving.count() == before[2] or not method.conserves


@pytest.mark.backends("tensorflow", "torch")  # on JAX Keras wants an optimizer that knows no other variables
def test_a_frozen_variable_of_a_sparse_optimizer_keeps_every_bit():
    model = stock()
    optimizer = dsr.SparseOptimizer(keras.optimizers.Adam(0.01), sparsity=0.8, seed=1)
    compiled(model, optimizer)
    fit(model, batches=2)
    model.get_layer("hidden").trainable = False
    compiled(model, optimizer)
    frozen = dsr.sparse_weights(model)[0]
    before = bits(frozen.variable), bits(frozen.mask)
    fit(model, dsr.Reallocate(RigL(end_step=100), period=2), batches=4)
    assert (bits(frozen.variable), bits(frozen.mask)) == before


@pytest.mark.slow_on("tensorflow")
@pytest.mark.backends("tensorflow", "torch")
@pytest.mark.parametrize("frozen", ["hidden", "classes"])
def test_a_model_with_a_frozen_variable_of_a_sparse_optimizer_is_saved_and_goes_on(frozen, tmp_path):
    model = stock()
    optimizer = dsr.SparseOptimizer(keras.optimizers.SGD(0.01), sparsity=0.8, seed=1)
    compiled(model, optimizer)
    fit(model, batches=2)
    model.get_layer(frozen).trainable = False
    compiled(model, optimizer)
    fit(model, batches=2)
    dsr.save(model, tmp_path / "model.keras", resumable=True)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert bits(loaded(batch())) == bits(model(batch()))
    (moving,) = dsr.sparse_weights(loaded)  # what is frozen is in no budget
    (expected,) = [weight for weight in dsr.sparse_weights(model) if weight.trainable]
    assert (bits(moving.mask), moving.count()) == (bits(expected.mask), expected.count())
    before = bits(loaded.get_layer(frozen).kernel)
    fit(loaded, dsr.Reallocate(SET(0.3), period=2), batches=4)
    assert bits(loaded.get_layer(frozen).kernel) == before
    assert moving.count() == expected.count()


def test_layers_are_frozen_and_set_free_between_fits():
    model, callback = perceptron(), dsr.DSRCallback(target=40, period=2, initial_threshold=0.05)
    total = sum(active_counts(model))
    for frozen, batches in ((False, 4), (True, 4), (False, 6)):
        model.get_layer("hidden").trainable = not frozen
        compiled(model)
        before = bits(dsr.sparse_weights(model)[0].mask)
        fit(model, callback, batches=batches)
        assert (bits(dsr.sparse_weights(model)[0].mask) == before) == frozen
        assert sum(active_counts(model)) == total
    thresholds = [float(values(weight.threshold)) for weight in dsr.sparse_weights(model)]
    assert thresholds[0] == thresholds[1] > 0


def test_where_all_is_frozen_there_is_nothing_to_reallocate():
    model = compiled(perceptron())
    model.trainable = False
    with pytest.raises(ValueError, match="All 2 sparse weights of .* are frozen .*hidden/kernel'"):
        dsr.Reallocator(model, DSR())


# Loops of one's own


@pytest.mark.slow_on("tensorflow")
def test_a_loop_of_train_on_batch():
    model = compiled(perceptron())
    reallocator = dsr.Reallocator(model, SET(0.3), period=3)
    total, done = sum(active_counts(model)), []
    images, classes = digits()
    for start in range(0, 32 * 7, 32):
        model.train_on_batch(images[start : start + 32], classes[start : start + 32])
        done.append(len(reallocator.step()))
    assert done == [0, 0, 1, 0, 0, 1, 0]
    assert sum(active_counts(model)) == total


@pytest.mark.slow_on("tensorflow")
def test_a_loop_reallocates_after_its_first_step_if_that_is_due():
    model = compiled(perceptron())
    images, classes = digits()
    model.train_on_batch(images[:32], classes[:32])
    reallocator = dsr.Reallocator(model, SET(0.3), period=1)
    for _ in range(3):
        model.train_on_batch(images[:32], classes[:32])
        assert len(reallocator.step()) == 1


def test_what_a_loop_does_is_what_fit_does():
    keras.utils.set_random_seed(1)
    by_fit = compiled(perceptron(), keras.optimizers.SGD(0.1))
    fit(by_fit, dsr.Reallocate(SET(0.3), period=2, seed=3), batches=4)
    keras.utils.set_random_seed(1)
    by_loop = compiled(perceptron(), keras.optimizers.SGD(0.1))
    reallocator = dsr.Reallocator(by_loop, SET(0.3), period=2, seed=3)
    images, classes = digits()
    for start in range(0, 32 * 4, 32):
        by_loop.train_on_batch(images[start : start + 32], classes[start : start + 32])
        reallocator.step()
    assert [values(weight.mask).tolist() for weight in dsr.sparse_weights(by_loop)] == [
        values(weight.mask).tolist() for weight in dsr.sparse_weights(by_fit)
    ]


@pytest.mark.backends("torch")
def test_a_loop_of_torch_on_a_model_that_is_not_compiled():
    import torch

    model, optimizer = perceptron(), keras.optimizers.Adam(0.01)
    reallocator = dsr.Reallocator(model, SET(0.3), period=2, optimizer=optimizer)
    images, classes = digits()
    done = 0
    for start in range(0, 32 * 4, 32):
        model.zero_grad()
        CLASSES(classes[start : start + 32], model(images[start : start + 32], training=True)).backward()
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in model.trainable_weights], model.trainable_weights)
        done += len(reallocator.step())
    assert done == 2 and int(optimizer.iterations) == 4


@pytest.mark.backends("jax")
def test_a_stateless_loop_of_jax():
    import jax

    model, optimizer = perceptron(), keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    reallocator = dsr.Reallocator(model, SET(0.3), period=2, optimizer=optimizer)
    total = sum(active_counts(model))

    def loss_of(trainable, non_trainable, x, y):
        predictions, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return CLASSES(y, predictions), non_trainable

    @jax.jit
    def train_step(trainable, non_trainable, slots, x, y):
        (_, non_trainable), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, non_trainable, x, y)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return trainable, non_trainable, slots

    kinds = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in of_kind] for of_kind in kinds)
    images, classes = digits()
    masks = []
    for start in range(0, 32 * 4, 32):
        state = train_step(*state, images[start : start + 32], classes[start : start + 32])
        before = state
        state = reallocator.stateless_step(*state)
        masks.append(state[0] is before[0])
    assert masks == [True, False, True, False]
    for variable, value in zip(model.trainable_variables, state[0]):
        variable.assign(value)
    assert sum(active_counts(model)) == total


@in_graphs
def test_a_loop_of_gradient_tape_finds_the_optimizer_by_itself():
    model, optimizer = perceptron(), keras.optimizers.Adam(0.01)
    reallocator = dsr.Reallocator(model, SET(0.3), period=2)
    images, classes = digits()
    done = 0
    for start in range(0, 32 * 4, 32):
        _, gradients = gradients_of(model, images[start : start + 32], classes[start : start + 32])
        optimizer.apply(gradients, model.trainable_variables)
        done += len(reallocator.step())
    assert done == 2
    assert [part.optimizer for part in reallocator.reallocations] == [optimizer]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"period": 0}, r"Reallocator\(period=\.\.\.\) must be an int of at least 1\. Received: period=0"),
        ({"optimizer": "adam"}, r"Reallocator\(optimizer=\.\.\.\) must be the Keras optimizer .* optimizer='adam'"),
        ({"seed": None}, r"Reallocator\(seed=\.\.\.\) must be an int"),
    ],
)
def test_an_argument_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        dsr.Reallocator(perceptron(), SET(0.3), **arguments)


# Whole, or as before


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("kind", selected([KeyboardInterrupt, OSError], [KeyboardInterrupt]))
def test_a_reallocation_that_is_interrupted_at_any_assignment_is_finished(kind, monkeypatch):
    model = compiled(perceptron(), keras.optimizers.Adam(0.01))
    fit(model, batches=2)
    first = [values(variable) for variable in [*model.variables, *model.optimizer.variables]]

    def reallocated(interrupted_at=None):
        for variable, value in zip([*model.variables, *model.optimizer.variables], first):
            variable.assign(value)
        reallocator = dsr.Reallocator(model, DSR(40, 0.05))
        assign, number = keras.Variable.assign, 0

        def counting(self, value):
            nonlocal number
            number += 1
            if number == interrupted_at:
                raise kind("now")
            return assign(self, value)

        monkeypatch.setattr(keras.Variable, "assign", counting)
        try:
            reallocator()
        except kind:
            assert interrupted_at is not None
        finally:
            monkeypatch.setattr(keras.Variable, "assign", assign)
        return state_bits(model), number

    whole, assignments = reallocated()
    assert assignments >= 12
    for at in range(1, assignments + 1):
        assert reallocated(at)[0] == whole


@pytest.mark.slow_on("tensorflow")  # on JAX Keras too assigns what can be interrupted
def test_a_fit_that_is_interrupted_leaves_a_whole_reallocation_or_none(monkeypatch):
    class Armed(dsr.DSRCallback):
        """Counts its assignments after a batch (on JAX Keras's too, which bring the model up to date)."""

        def on_train_batch_end(self, batch, logs=None):
            monkeypatch.setattr(keras.Variable, "assign", counting)
            try:
                super().on_train_batch_end(batch, logs)
            finally:
                monkeypatch.setattr(keras.Variable, "assign", assign)

    def counting(self, value):
        nonlocal number
        number += 1
        if number == interrupted_at:
            raise KeyboardInterrupt
        return assign(self, value)

    assign = keras.Variable.assign
    model = compiled(perceptron(), keras.optimizers.SGD(0.01))
    fit(model, batches=1)
    first = [values(variable) for variable in [*model.variables, *model.optimizer.variables]]

    def fitted(period):
        for variable, value in zip([*model.variables, *model.optimizer.variables], first):
            variable.assign(value)
        with contextlib.suppress(KeyboardInterrupt):
            fit(model, Armed(target=40, period=period, initial_threshold=0.05), batches=1)
        return [bits(array) for weight in dsr.sparse_weights(model) for array in (weight.mask, weight.variable)]

    interrupted_at, number = None, 0
    before = fitted(period=1000)
    number = 0
    whole = fitted(period=1)
    total = number
    assert before != whole and total > 6
    for interrupted_at in range(1, total + 1):  # noqa: B007 (`counting` reads it)
        number = 0
        assert fitted(period=1) in ((before, whole) if keras.backend.backend() == "jax" else (whole,))


# Since when steps count


def resaved(model, tmp_path):
    dsr.save(model, tmp_path / "model.keras", resumable=True)
    return keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_schedule_counts_from_its_first_step_on_a_model_that_has_trained(tmp_path):
    model = compiled(perceptron(sparsity=0.0))
    fit(model, batches=8)
    model = resaved(model, tmp_path)
    pruning = GradualPruning(final_sparsity=0.9, end_step=8)
    fit(model, dsr.Reallocate(pruning, period=2), batches=2)
    assert 0.5 < dsr.summary(model).sparsity < 0.6  # a quarter of the way: 0.9 * (1 - 0.75 ** 3)
    model = resaved(model, tmp_path)  # and goes on from there
    fit(model, dsr.Reallocate(pruning, period=2), batches=6)
    assert active_counts(model) == [154, 24]
    assert Record.of(dsr.sparse_weights(model)[0].record).since == 8


@pytest.mark.slow_on("tensorflow", "jax")
def test_another_method_begins_at_its_own_first_step():
    model = compiled(perceptron())
    fit(model, dsr.Reallocate(SET(0.3), period=3), batches=4)
    fit(model, dsr.Reallocate(SET(0.2), period=3), batches=3)
    record = Record.of(dsr.sparse_weights(model)[0].record)
    assert record.since == 4 and record.active == 307


# Masks that come from elsewhere


def averaged(model):
    weights = model.get_weights()
    fit(model, dsr.DSRCallback(target=40, period=1, initial_threshold=0.05), batches=2)
    model.set_weights([(one + other) / 2 for one, other in zip(weights, model.get_weights())])


def half_of_a_slice(model):
    mask = dsr.sparse_weights(model)[0].mask
    value = values(mask)
    value[np.unravel_index(np.flatnonzero(value)[0], value.shape)] = False
    mask.assign(value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (averaged, "has .* active weights, and .* were recorded"),
        (half_of_a_slice, "has 306 active weights, and 307 were recorded"),
        (lambda model: dsr.sparse_weights(model)[0].mask.assign(np.zeros((64, 24), bool)), "at least one true entry"),
        (
            lambda model: dsr.sparse_weights(model)[0].threshold.assign(np.inf),
            "threshold H of '.*hidden/kernel' .* inf",
        ),
        (lambda model: dsr.sparse_weights(model)[0].threshold.assign(np.nan), "threshold H .* nan"),
        (lambda model: dsr.sparse_weights(model)[0].threshold.assign(-1.0), "threshold H .* -1"),
    ],
)
def test_masks_and_thresholds_from_elsewhere_are_refused_when_training_begins(damage, message):
    model = compiled(perceptron())
    damage(model)
    with pytest.raises(ValueError, match=message):
        fit(model, dsr.DSRCallback(target=40, period=1), batches=1)


def test_a_file_of_another_budget_is_refused_and_the_model_is_as_it_was(tmp_path):
    perceptron(sparsity=0.5).save_weights(tmp_path / "other.weights.h5")
    model = perceptron(sparsity=0.8)
    before = state_bits(compiled(model))
    with pytest.raises(ValueError, match="built with 768 active weights there, and this one was built with 307"):
        model.load_weights(tmp_path / "other.weights.h5")
    assert state_bits(model)[0] == before[0]


def test_a_sparse_optimizer_follows_weights_that_are_restored():
    model = stock()
    optimizer = dsr.SparseOptimizer(keras.optimizers.SGD(0.1), sparsity=0.8, seed=0)
    compiled(model, optimizer)
    fit(model, batches=2)
    best = model.get_weights()
    fit(model, dsr.Reallocate(RigL(fraction=0.5, end_step=100), period=1), batches=4)
    model.set_weights(best)
    model.optimizer.learning_rate = 0.0
    outputs = model.predict(batch(), verbose=0)
    fit(model, batches=1)
    np.testing.assert_array_equal(model.predict(batch(), verbose=0), outputs)
    assert active_counts(model) == [307, 48]


# Training in which nothing happens


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda: dsr.DSRCallback(period=100), "moved no weight in 4 batches of training: .* its period is 100 steps"),
        (lambda: dsr.DSRCallback(period=1, initial_threshold=1e-9), "pruned no weight, .*below the threshold H"),
        (lambda: dsr.Reallocate(GradualPruning(0.8, 0.9, 50, 60), period=2), "2 reallocations pruned no weight"),
    ],
)
def test_a_training_in_which_nothing_happens_says_so_once(callback, message, recwarn):
    callback, model = callback(), compiled(perceptron())
    with pytest.warns(UserWarning, match=message):
        fit(model, callback, batches=4)
    recwarn.clear()
    fit(model, callback, batches=4)
    assert not [one for one in recwarn if "moved no weight" in str(one.message)]


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_training_in_which_something_happens_or_nothing_is_meant_to_says_nothing(recwarn):
    for callback in (dsr.DSRCallback(target=20, period=2), dsr.Reallocate(Static()), dsr.DSRCallback(stop_at=0)):
        fit(compiled(perceptron()), callback, batches=4)
    assert not [one for one in recwarn if "moved no weight" in str(one.message)]


@pytest.mark.slow_on("tensorflow", "jax")
def test_the_first_threshold_prunes_the_target():
    for target, pruned in ((40, 40), (0.2, 71)):
        history = fit(compiled(perceptron()), dsr.DSRCallback(target=target, period=3), batches=3).history
        assert history["dsr_pruned"] == [pruned]
