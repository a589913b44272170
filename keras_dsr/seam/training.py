"""Fast training steps: while `fit` runs, stored dead weights are kept at zero and the forward pass need not mask."""

import keras
from keras import ops

from keras_dsr.decisions.units import mask_weights
from keras_dsr.layers.masked import reading_clean_kernels
from keras_dsr.seam.slots import optimizer_slots, unwrapped
from keras_dsr.seam.weights import SparseWeight

# What these do to a weight depends on its own value, gradient and slots alone, and is nothing when all three are zero.
# Others (Muon) move dead weights too: under them every forward pass masks the kernel.
ELEMENTWISE_OPTIMIZERS = (
    keras.optimizers.SGD,
    keras.optimizers.RMSprop,
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adadelta,
    keras.optimizers.Adagrad,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.Lion,
)

_CACHE = "_keras_dsr_train_function"  # kept with the model, so that a second `fit` does not trace again


class FastTraining:
    """Between `begin` and `end`, the model's training steps read stored kernels as they are and mask gradients only.

    `begin` clears what dead places hold, in weights and slots; zero gradients then keep them at zero under an
    elementwise optimizer. Under any other optimizer nothing changes: the forward pass goes on masking.
    """

    def __init__(self, model: keras.Model, weights: list[SparseWeight]):
        self._model = model
        self._weights = weights
        self._stock_function = None

    def begin(self) -> None:
        """Call when training begins, after `fit` has made its train function."""
        model = self._model
        if type(unwrapped(model.optimizer)) not in ELEMENTWISE_OPTIMIZERS:
            return
        self._clear_dead_places()
        self._stock_function = model.train_function
        configuration, function = vars(model).get(_CACHE, (None, None))
        if function is None or configuration is not model._compile_config:
            model.make_train_function(force=True)
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

    def _clear_dead_places(self):
        for weight in self._weights:
            mask = ops.convert_to_tensor(weight.mask)
            weight.variable.assign(mask_weights(ops.convert_to_tensor(weight.variable), mask))
            for slot in optimizer_slots(self._model.optimizer, weight.variable):
                value = ops.convert_to_tensor(slot.variable)
                slot.variable.assign(ops.where(mask, value, ops.full_like(value, slot.initial_value)))
