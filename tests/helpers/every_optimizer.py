"""Every optimizer that Keras ships, in a form that moves the digits within a few steps."""

from keras import optimizers

ADAFACTOR_EPSILON = 1e-18  # its own default of epsilon_1, 1e-30, gives NaN where a row and a column have no gradients

OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True, weight_decay=1e-3),
    "Adam": lambda: optimizers.Adam(0.01, amsgrad=True),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=1e-2),
    "Adadelta": lambda: optimizers.Adadelta(1.0, weight_decay=1e-3),
    "Adagrad": lambda: optimizers.Adagrad(0.05),
    "Adamax": lambda: optimizers.Adamax(0.01),
    "Adafactor": lambda: optimizers.Adafactor(0.05, epsilon_1=ADAFACTOR_EPSILON, weight_decay=1e-3),
    "Nadam": lambda: optimizers.Nadam(0.01, weight_decay=1e-3),
    "Ftrl": lambda: optimizers.Ftrl(0.5),
    "Lion": lambda: optimizers.Lion(0.005, weight_decay=1e-3),
    "Lamb": lambda: optimizers.Lamb(0.01, weight_decay=1e-3),
    "Muon": lambda: optimizers.Muon(0.01),
    "ScheduleFreeAdamW": lambda: optimizers.ScheduleFreeAdamW(0.01, weight_decay=1e-3),
}
