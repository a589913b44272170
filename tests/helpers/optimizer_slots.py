"""How to make each optimizer, and the slots that it has for (hidden, classes), by their initial values."""

from keras import optimizers


def per_layer_optimizer():
    """A `MultiOptimizer`: SGD with momentum for the hidden layer, Adam for what follows."""
    hidden, rest = optimizers.SGD(0.01, momentum=0.9), optimizers.Adam(0.01)
    return optimizers.MultiOptimizer(lambda variable: hidden if "hidden" in variable.path else rest)


OPTIMIZERS = {
    "plain SGD": (lambda: optimizers.SGD(0.01), [0, 0], 0),
    "SGD momentum": (lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True), [1, 1], 0),
    "Adam": (lambda: optimizers.Adam(0.01), [2, 2], 0),
    "Adam amsgrad": (lambda: optimizers.Adam(0.01, amsgrad=True), [3, 3], 0),
    "AdamW": (lambda: optimizers.AdamW(0.01), [2, 2], 0),
    "Adamax": (lambda: optimizers.Adamax(0.01), [2, 2], 0),
    "Nadam": (lambda: optimizers.Nadam(0.01), [2, 2], 0),
    "Lion": (lambda: optimizers.Lion(0.01), [1, 1], 0),
    "Lamb": (lambda: optimizers.Lamb(0.01), [2, 2], 0),
    "RMSprop": (lambda: optimizers.RMSprop(0.01), [1, 1], 0),
    "RMSprop centered": (lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True), [3, 3], 0),
    "Adadelta": (lambda: optimizers.Adadelta(0.01), [2, 2], 0),
    # (its own default of epsilon_1, 1e-30, gives NaN in a row or column without gradients)
    "Adafactor": (lambda: optimizers.Adafactor(0.01, epsilon_1=1e-18), [1, 1], 0),
    "Adagrad": (lambda: optimizers.Adagrad(0.01, initial_accumulator_value=0.25), [1, 1], 0.25),
    "accumulation": (lambda: optimizers.Adam(0.01, gradient_accumulation_steps=2), [3, 3], 0),
    "average": (lambda: optimizers.SGD(0.01, momentum=0.9, use_ema=True), [2, 2], 0),
    "loss scale": (lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01)), [2, 2], 0),
    "several": (per_layer_optimizer, [1, 2], 0),
}
