"""Fast training steps: while `fit` runs, stored dead weights are kept at zero and the forward pass need not mask."""

import keras
from keras import ops

from keras_dsr.layers.masked import MaskedLayer, reading_clean_kernels
from keras_dsr.optimizers.slots import clear_dead_places, is_elementwise, optimizer_slots, unwrapped
from keras_dsr.seam.weights import SparseWeight, walk

_CACHE = "_keras_dsr_train_function"  # kept with the model, so that a second `fit` does not trace again


class FastTraining:
    """Between `begin` and `end`, the model's training steps read stored kernels as they are and mask gradients only.

    `begin` clears what dead places hold, in weights and slots; zero gradients then keep them at zero under an
    elementwise optimizer. Under any other optimizer nothing changes: the forward pass goes on masking.
    """

    def __init__(self, model: keras.Model, weights: list[SparseWeight]):
        self._model = model
        self._weights = [weight for weight in weights if isinstance(weight.holder, MaskedLayer)]
        self._stock_function = None

    def begin(self) -> None:
        """Call when training begins, after `fit` has made its train function."""
        model = self._model
        if not self._weights or not is_elementwise(unwrapped(model.optimizer)):
            return
        for weight in self._weights:
            slots = optimizer_slots(model.optimizer, weight.variable)
            clear_dead_places(weight.variable, ops.convert_to_tensor(weight.mask), slots)
        self._stock_function = model.train_function
        configuration, function = vars(model).get(_CACHE, (None, None))
        if function is None or configuration is not model._compile_config:
            _make_another_train_function(model)
            function = model.train_function
            vars(model)[_CACHE] = model._compile_config, function  # not by setattr: Keras tracks what is set
        layers = [weight.layer for weight in self._weights]

        def train_function(*arguments):
            with reading_clean_kernels(layers):  # it matters when the function is traced
                return function(*arguments)

        model.train_function = train_function

    def end(self) -> None:
        """Call when training has ended: from here on the user may write to the stored kernels."""
        if self._stock_function is not None:
            self._model.train_function, self._stock_function = self._stock_function, None

    def renew(self) -> None:
        """Trace the training step again, as it is to be now."""
        self.end()
        vars(self._model).pop(_CACHE, None)
        self._model.make_train_function(force=True)
        self.begin()


def _make_another_train_function(model: keras.Model) -> None:
    """Make a train function beside the one that there is; `jax.jit` would take two of one bound method for the same."""
    step, own = model.train_step, vars(model).get("train_step")
    vars(model)["train_step"] = lambda *arguments, **settings: step(*arguments, **settings)
    try:
        model.make_train_function(force=True)
    finally:
        del vars(model)["train_step"]
        if own is not None:
            vars(model)["train_step"] = own


def set_optimizer(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Give a compiled model another optimizer, and its compile configuration too, so that files have it."""
    model.optimizer = optimizer
    configuration = model._compile_config
    model._compile_config = type(configuration)(**{**configuration.config, "optimizer": optimizer})


def forget_compiled_functions(model: keras.Model) -> None:
    """Have the training, test and prediction functions of a model, and of those in it, traced again when next used."""
    for part, _ in walk(model):
        vars(part).pop(_CACHE, None)
        for function in ("train_function", "test_function", "predict_function"):
            if isinstance(part, keras.Model) and getattr(part, function, None) is not None:
                setattr(part, function, None)


def renew_compiled_functions(model: keras.Model) -> None:
    """Have these functions made again, the training function at once, because the model or optimizer has new variables.

    Call it while `fit` begins. Under `keras.distribution` those functions know the layout of each variable.
    """
    trains = model.train_function is not None
    forget_compiled_functions(model)
    if trains:
        model.make_train_function()
