"""Dense-sparse-dense training on real small models: what is cut, what is restored, and what is left at the end."""

import copy
import functools
import pickle

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import bits, compiled, digits, fit, perceptron, state_bits, values

pytestmark = pytest.mark.slow_on("jax")  # it is above the backends, and takes long there

EIGHT = np.float32([0.5, -0.09, 0.1, -0.3, 0.05, 0.2, -0.01, 0.4])
CUT = np.array([False, True, True, False, True, False, True, False])  # the smaller half of EIGHT
no_backend = pytest.mark.backends("torch")  # no backend does any of it
by_the_host = pytest.mark.backends("torch")  # decided in Python alone; nothing is traced there
untraced = pytest.mark.slow_on("tensorflow")  # TensorFlow has one such case; more would trace the same for long
silent = functools.partial(dsr.DSDCallback, verbose=0)


def plain(seed=3) -> keras.Model:
    """A stock network of two layers."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(24, activation="relu", name="hidden"), keras.layers.Dense(10, name="classes")]
    return keras.Sequential([keras.Input((64,)), *layers])


def convolutional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(4, 3, name="first"),
            keras.layers.Conv2D(4, 3, name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="classes"),
        ]
    )


def recurrent() -> keras.Model:
    rows = [keras.Input((64,)), keras.layers.Reshape((8, 8))]
    both = keras.layers.Bidirectional(keras.layers.LSTM(6, name="lstm"))
    return keras.Sequential([*rows, both, keras.layers.Dense(10, name="classes")])


class Watch(keras.callbacks.Callback):
    """Notes the sparsity of each sparse weight when an epoch's first step begins, and the learning rate in it."""

    def __init__(self):
        super().__init__()
        self.sparsities, self.rates, self.kernels = [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            weights = dsr.sparse_weights(self.model)
            self.sparsities.append({weight.name: 1 - weight.count() / weight.size for weight in weights})
            self.kernels.append([values(weight.variable) for weight in weights])

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.rates.append(float(self.model.optimizer.learning_rate))


traces_much = pytest.mark.slow_on("tensorflow")


def test_eight_weights_by_hand(tmp_path):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, use_bias=False, name="only")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=keras.backend.backend() == "jax")
    model.layers[0].kernel.assign(EIGHT[:, None])
    x = np.eye(8, dtype="float32")  # each example asks one weight to grow
    seen = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(values(model.layers[0].kernel)[:, 0]),
        on_epoch_end=lambda epoch, logs: seen.append(values(model.layers[0].kernel)[:, 0]),
    )
    history = model.fit(x, x @ EIGHT + 1, 8, 3, verbose=0, shuffle=False, callbacks=[silent(0.5, 1, 1), note])
    dense_before, dense_after, sparse_before, sparse_after, last_before, last_after = seen

    np.testing.assert_array_equal(dense_before, EIGHT)
    assert (dense_after > EIGHT).all()
    np.testing.assert_array_equal(sparse_before, np.where(CUT, 0, dense_after))  # all have grown by the same 0.025
    np.testing.assert_array_equal(sparse_after[CUT], 0)
    assert (sparse_after[~CUT] > sparse_before[~CUT]).all()
    np.testing.assert_array_equal(last_before, sparse_after)  # restored at 0 ...
    # ... and they learn, by the first step of a momentum that starts over, at a tenth of the learning rate:
    # 2/8 of the error of 1 + EIGHT - 0, times 0.1 * 0.1
    np.testing.assert_allclose(last_after[CUT], 0.0025 * (EIGHT[CUT] + 1), rtol=1e-4)
    assert history.history["dsd_phase"] == [0, 1, 2]
    assert history.history["sparsity"] == [0, 0.5, 0]

    # The final network is dense, and stock Keras loads it.
    assert type(model.layers[0]) is keras.layers.Dense and not dsr.sparse_weights(model)
    model.save(tmp_path / "model.keras")
    assert "keras_dsr" not in (tmp_path / "model.keras").read_bytes().decode("latin-1")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0)[:, 0], last_after
    )


def test_it_learns_in_every_phase():
    model = compiled(plain(), keras.optimizers.SGD(0.1, momentum=0.9))
    history = fit(model, silent(0.5, 4, 3), batches=30, epochs=10)
    assert history.history["accuracy"][-1] > 0.95
    assert history.history["sparsity"] == pytest.approx([0] * 4 + [0.5] * 3 + [0] * 3)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(plain, marks=pytest.mark.thorough),
        convolutional,
        pytest.param(recurrent, marks=pytest.mark.backends("tensorflow", "torch")),  # it compiles for long on JAX
    ],
)
@traces_much
def test_every_phase_of_several_kinds_of_layers(build):
    model, watch = compiled(build(), "adam"), Watch()
    classes = [type(layer) for layer in model._flatten_layers()]
    fit(model, silent(0.5, 1, 1), watch, batches=2, epochs=3)
    assert all(share == 0 for share in watch.sparsities[0].values())
    assert all(share == pytest.approx(0.5, abs=0.1) for share in watch.sparsities[1].values())
    assert all(share == 0 for share in watch.sparsities[2].values())
    assert not any("first" in name for name in watch.sparsities[1])  # the first convolution is never cut
    assert len(watch.sparsities[1]) == {plain: 2, convolutional: 2, recurrent: 5}[build]
    assert [type(layer) for layer in model._flatten_layers()] == classes


@pytest.mark.parametrize(
    ("settings", "cut"),
    [
        pytest.param({}, ["second", "classes"], marks=by_the_host),
        pytest.param({"exclude": "classes"}, ["second"], marks=pytest.mark.thorough),
        ({"exclude": "classes", "cut_first_convolution": True}, ["first", "second"]),
    ],
)
@traces_much
def test_the_first_convolution_is_cut_only_by_an_argument_of_its_own(settings, cut):
    model, watch = compiled(convolutional()), Watch()
    fit(model, silent(0.5, 1, 1, **settings), watch, batches=2, epochs=3)
    assert [name.split("/")[-2] for name in watch.sparsities[1]] == cut


@traces_much
def test_two_rounds_with_lower_sparsity_and_learning_rate():
    model, watch = compiled(plain(), keras.optimizers.SGD(0.1)), Watch()
    callback = silent([0.5, 0.25], [2, 1], 1, sparse_learning_rate_factor=0.5)
    history = fit(model, callback, watch, batches=2, epochs=6)
    assert history.history["dsd_phase"] == [0, 0, 1, 2, 3, 4]
    assert history.history["sparsity"] == pytest.approx([0, 0, 0.5, 0, 0.25, 0])
    assert watch.rates == pytest.approx([0.1, 0.1, 0.05, 0.01, 0.005, 0.001])
    assert history.history["dsd_learning_rate"] == pytest.approx(watch.rates)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


@traces_much
def test_loggers_before_it_have_its_logs_and_those_of_layers():
    noted = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: noted.append(dict(logs)))
    model = compiled(plain())
    history = fit(model, note, silent(0.5, 1, 1, log_layers=True), batches=2, epochs=3).history
    assert [logs["dsd_phase"] for logs in noted] == history["dsd_phase"] == [0, 1, 2]
    layers = [name for name in noted[0] if name.startswith("density/")]
    assert len(layers) == sum(isinstance(layer, keras.layers.Dense) for layer in model.layers)
    for name in layers:
        assert [logs[name] for logs in noted] == history[name] == pytest.approx([1, 0.5, 1], abs=0.01)


@pytest.mark.slow_on("tensorflow")
def test_the_users_schedule_is_scaled_and_given_back():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 5], [0.4, 0.2, 0.1])  # 2 steps an epoch
    model, watch = compiled(plain(), keras.optimizers.SGD(schedule)), Watch()
    history = fit(model, silent(0.5, 1, 1), watch, batches=2, epochs=4)
    # Read when the first step of an epoch is over, so at steps 1, 3, 5, 7; the log has those of steps 0, 2, 4, 6.
    assert watch.rates == pytest.approx([0.4, 0.2, 0.02, 0.01])
    assert history.history["dsd_learning_rate"] == pytest.approx([0.4, 0.2, 0.02, 0.01])
    assert model.optimizer._learning_rate is schedule


@pytest.mark.parametrize(
    "first", [pytest.param(True, id="listed_before", marks=by_the_host), pytest.param(False, id="listed_after")]
)
@traces_much
def test_schedulers_of_the_user_go_on_beneath(first):
    absolute = keras.callbacks.LearningRateScheduler(lambda epoch, rate: [0.4, 0.3, 0.2, 0.1][epoch])
    model, watch = compiled(plain(), keras.optimizers.SGD(0.9)), Watch()
    callbacks = [absolute, silent(0.5, 1, 1)] if first else [silent(0.5, 1, 1), absolute]
    fit(model, *callbacks, watch, batches=2, epochs=4)
    assert watch.rates == pytest.approx([0.4, 0.3, 0.02, 0.01])

    relative = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model, watch = compiled(plain(), keras.optimizers.SGD(0.8)), Watch()
    callbacks = [relative, silent(0.5, 1, 1)] if first else [silent(0.5, 1, 1), relative]
    fit(model, *callbacks, watch, batches=2, epochs=4)
    assert watch.rates == pytest.approx([0.4, 0.2, 0.01, 0.005])


@traces_much
def test_phases_by_step_are_those_by_epoch():
    by_epoch, by_step = (compiled(plain(), keras.optimizers.SGD(0.1, momentum=0.9)) for _ in range(2))
    fit(by_epoch, silent(0.5, 1, 2), batches=6, epochs=4)
    history = fit(by_step, silent(0.5, dense_steps=6, sparse_steps=12), batches=6, epochs=4)
    assert state_bits(by_step) == state_bits(by_epoch)
    # A step's phase begins when the step before it is over.
    assert history.history["dsd_phase"] == [1, 1, 2, 2]


@pytest.mark.slow_on("tensorflow")
@pytest.mark.backends("tensorflow", "jax")  # Keras refuses several steps an execution on torch
def test_a_phase_may_begin_in_mid_epoch_and_between_executions():
    model = compiled(plain(), steps_per_execution=4)
    counts = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            counts.append(sum(weight.count() for weight in dsr.sparse_weights(self.model)))

    fit(model, silent(0.5, dense_steps=6, sparse_steps=10), Note(), batches=20)
    assert counts == [1776, 888, 888, 1776, 1776]  # after 4, 8, 12, 16, 20 steps


@traces_much
def test_two_fits_are_one():
    whole, halves = (compiled(plain(), keras.optimizers.Adam(0.01)) for _ in range(2))
    fit(whole, silent(0.5, 1, 2), epochs=5)
    fit(halves, silent(0.5, 1, 2), epochs=2)
    assert isinstance(halves.layers[0], dsr.SparseDense)  # it ended within the sparse phase, and its mask is kept
    callback = silent(0.5, 1, 2)
    fit(halves, callback, epochs=5, initial_epoch=2)
    assert [bits(variable) for variable in halves.trainable_variables] == [
        bits(variable) for variable in whole.trainable_variables
    ]


@traces_much
def test_backup_and_restore_goes_on_in_the_sparse_phase(tmp_path):
    def trained(folder, stops_in=None):
        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if stops_in == self.params["epoch"] and batch == 1:
                    raise KeyboardInterrupt

            def on_epoch_begin(self, epoch, logs=None):
                self.params["epoch"] = epoch

        model = compiled(plain(), keras.optimizers.SGD(0.1, momentum=0.9))
        callbacks = [silent(0.5, 1, 2, cut="random"), keras.callbacks.BackupAndRestore(folder), Stop()]
        history = fit(model, *callbacks, epochs=5)
        return model, history.history["dsd_phase"]

    whole, _ = trained(tmp_path / "whole")
    for epoch in (2, 3):  # in the sparse phase, and in the last one
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed", stops_in=epoch)
    again, phases = trained(tmp_path / "killed")
    assert phases == [2, 2]
    assert [bits(v) for v in again.trainable_variables] == [bits(v) for v in whole.trainable_variables]


@traces_much
def test_sparse_layers_and_sparse_optimizers_are_used_as_they_are():
    sparse = compiled(perceptron(sparsity=0.0))
    wrapped = compiled(plain(), dsr.SparseOptimizer(keras.optimizers.SGD(0.1), sparsity=0.0))
    for model in (sparse, wrapped):
        watch = Watch()
        fit(model, silent(0.5, 1, 1), watch, batches=2, epochs=3)
        assert [set(shares.values()) for shares in watch.sparsities] == [{0}, {0.5}, {0}]
        assert len(dsr.sparse_weights(model)) == 2


@by_the_host
def test_sparsities_by_name_and_by_a_function_of_the_model():
    for sparsity in ({"hidden/kernel": 0.75}, lambda model: {"hidden/kernel": 0.75}):
        model, watch = compiled(plain()), Watch()
        sparsity = sparsity if callable(sparsity) else {f"{model.name}/{name}": s for name, s in sparsity.items()}
        if callable(sparsity):
            sparsity = functools.partial(lambda model: {f"{model.name}/hidden/kernel": 0.75})
        fit(model, silent(sparsity, 1, 1), watch, batches=2, epochs=3)
        assert list(watch.sparsities[1].values()) == [0.75, 0]


@traces_much
def test_what_sensitivity_chooses_is_cut_in_the_same_fit():
    images, classes = digits()
    examples = images[:200], classes[:200]

    def chosen(model):
        return dsr.sensitivity(model, examples, sparsities=(0.3, 0.6, 0.9), verbose=0).choose(total=0.5)

    model, watch = compiled(plain()), Watch()
    fit(model, silent(chosen, 1, 1), watch, batches=10, epochs=3)
    shares = list(watch.sparsities[1].values())
    assert (1536 * shares[0] + 240 * shares[1]) / 1776 == pytest.approx(0.5, abs=2 / 1776)


@untraced
@traces_much
def test_a_random_cut_is_another_one_and_depends_on_the_seed():
    masks = {}
    for name, settings in {"smallest": {}, "random": {"cut": "random"}, "seeded": {"cut": "random", "seed": 1}}.items():
        model = compiled(plain())
        fit(model, silent(0.5, 1, 2, **settings), epochs=2)
        masks[name] = [values(weight.mask) for weight in dsr.sparse_weights(model)]
        assert sum(mask.sum() for mask in masks[name]) == 888
    assert len({mask[0].tobytes() for mask in masks.values()}) == 3


@pytest.mark.slow_on("tensorflow")
def test_dropout_weight_decay_and_batch_statistics_stay_the_users():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(16, kernel_regularizer=keras.regularizers.L2(0.1)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10),
        ]
    )
    compiled(model, keras.optimizers.AdamW(0.01, weight_decay=0.1))
    fit(model, silent(0.5, 1, 1), epochs=3)
    assert model.layers[0].kernel_regularizer.l2 == pytest.approx(0.1) and model.layers[2].rate == 0.5
    assert model.optimizer.weight_decay == 0.1 and len(model.losses) == 1


@pytest.mark.slow_on("tensorflow")
def test_it_says_which_phase_begins(capsys):
    fit(compiled(plain()), dsr.DSDCallback(0.5, 1, 1), batches=2, epochs=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "DSD, epoch 1: dense phase (1 of 3), 0 of 1,776 weights cut, learning rate x 1",
        "DSD, epoch 2: sparse phase (2 of 3), 888 of 1,776 weights cut, learning rate x 1",
        "DSD, epoch 3: dense phase (3 of 3), 0 of 1,776 weights cut, learning rate x 0.1",
    ]


@no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"must be a number in \[0, 1\).*Received: sparsity=1.0"),
        ({"sparsity": []}, r"one sparsity a round. Received: sparsity=\[\]"),
        ({"sparsity": [0.5, -1]}, r"must be a number in \[0, 1\).*Received: sparsity=-1"),
        ({"sparsity": "half"}, r"must be a number in \[0, 1\)"),
        ({"cut": "largest"}, r"cut=...\) must be 'random', or 'magnitude'"),
        ({"dense_epochs": None}, r"needs the length.*Received: dense_epochs=None, sparse_epochs=1"),
        ({"dense_steps": 1, "sparse_steps": 1}, r"dense_epochs and sparse_epochs, or dense_steps and sparse_steps"),
        ({"dense_epochs": -1}, r"dense_epochs=...\) must be an int of at least 0.*Received: dense_epochs=-1"),
        ({"sparse_epochs": 0}, r"sparse_epochs=...\) must be an int of at least 1.*Received: sparse_epochs=0"),
        ({"sparse_epochs": [1, 2]}, r"a list of one a round \(there is 1, by `sparsity`\)"),
        ({"final_learning_rate_factor": 0}, r"final_learning_rate_factor=...\) must be a positive number"),
        ({"sparse_learning_rate_factor": float("nan")}, r"sparse_learning_rate_factor=...\) must be a positive number"),
        ({"seed": 0.5}, r"seed=...\) must be an int"),
        ({"include": 5}, r"A selector in DSDCallback\(include=...\) must be a layer.*Received: include=5"),
        ({"dense_epochs": b"x"}, r"dense_epochs=...\) must be an int of at least 0.*Received: dense_epochs=b'x'"),
        ({"verbose": "loud"}, r"verbose=...\) must be 0, 1 or 2. Received: verbose='loud'"),
        ({"cut_first_convolution": None}, r"cut_first_convolution=...\) must be True or False. Received: .*=None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        dsr.DSDCallback(**{"dense_epochs": 1, "sparse_epochs": 1, **arguments})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"sparsity": {"hiden/kernel": 0.5}},
            r"names 'hiden/kernel', and the model 'plain' has no such.*hidden",
        ),
        ({"sparsity": lambda model: {"hiden/kernel": 0.5}}, r"names 'hiden/kernel'"),
        ({"exclude": "hiden"}, r"DSDCallback\(exclude=...\) names something that the model does not have: 'hiden'"),
        ({"exclude": keras.layers.Dense}, r"nothing to cut in 'plain'.*Received"),
    ],
)
def test_a_model_that_does_not_fit_stays_as_it_is(settings, message):
    model = compiled(plain())
    model.name = "plain"
    before = [bits(variable) for variable in model.variables]
    callback = silent(**{"sparsity": 0.5, "dense_epochs": 0, "sparse_epochs": 1, **settings})
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit(model, callback)
    kernels = [bits(variable) for variable in model.variables]
    assert [kernel for kernel in before if kernel not in kernels] == []


@pytest.mark.slow_on("tensorflow")
def test_early_stopping_may_restore_an_epoch_of_the_sparse_phase():
    model = compiled(plain())
    best = keras.callbacks.EarlyStopping("sparsity", mode="max", patience=9, restore_best_weights=True)
    # It looks at an epoch's logs before the callback has written to them, so give it what it watches.
    phase = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(sparsity=[0, 0.5, 0][epoch]))
    fit(model, phase, best, silent(0.5, 1, 1), batches=2, epochs=3)
    assert [weight.count() for weight in dsr.sparse_weights(model)] == [768, 120]
    assert float(np.mean(values(model.layers[0].kernel) == 0)) >= 0.5
    dsr.densify(model)
    assert type(model.layers[0]) is keras.layers.Dense


@untraced
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_a_copy_of_a_used_callback_does_for_another_model_what_the_first_did(copied):
    used = silent(0.5, 1, 1)
    history = fit(compiled(plain()), used, batches=2, epochs=3).history
    again = copied(used)
    assert again._model is None and vars(again).keys() == vars(silent(0.5, 1, 1)).keys()
    keras.utils.set_random_seed(0)
    model = compiled(plain())
    assert fit(model, again, batches=2, epochs=3).history["sparsity"] == history["sparsity"] == [0, 0.5, 0]
    assert type(model.layers[0]) is keras.layers.Dense


@pytest.mark.backends("tensorflow")
@pytest.mark.slow_on("tensorflow")
def test_phases_by_step_need_an_optimizer_that_takes_steps():
    class Own(keras.Model):
        def __init__(self, net):
            super().__init__()
            self.net, self.own = net, keras.optimizers.SGD(0.1)

        def train_step(self, data):
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = keras.ops.mean(self.net(data[0], training=True) ** 2)
            variables = self.net.trainable_variables
            self.own.apply(tape.gradient(loss, variables), variables)
            return {"loss": loss}

    net = keras.Sequential([keras.Input((64,)), keras.layers.Dense(24), keras.layers.Dense(10)])
    model = Own(net)
    model.compile("adam")
    with pytest.raises(RuntimeError, match=r"counts the steps of 'adam.*', .* it took none in this epoch"):
        fit(model, dsr.DSDCallback(0.5, dense_steps=2, sparse_steps=2, verbose=0), batches=3)
    model = Own(keras.models.clone_model(net))
    model.compile("adam")
    callback = dsr.DSDCallback(0.5, dense_epochs=1, sparse_epochs=1, final_learning_rate_factor=0.5, verbose=0)
    rates, own = [], model.own
    read = lambda batch, logs: rates.append(float(own.learning_rate))  # noqa: E731
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=read)
    history = fit(model, callback, watch, batches=2, epochs=3).history
    assert history["sparsity"] == [0.0, 0.5, 0.0]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.1, 0.05, 0.05], rtol=1e-6)
