"""A sparse model of each kind that Keras has."""

import keras

import keras_dsr as dsr
from tests.helpers.networks import batch


class Block(keras.layers.Layer):
    """A composite layer that keeps sparse layers in an attribute, a list and a dict."""

    def __init__(self, name):
        super().__init__(name=name)
        self.first = dsr.SparseDense(8, name="first")
        self.rest = [dsr.SparseDense(8, name="second"), keras.layers.ReLU(), dsr.SparseDense(8, name="third")]
        self.named = {"last": dsr.SparseDense(8, name="fourth")}

    def call(self, x):
        for layer in [self.first, *self.rest, self.named["last"]]:
            x = layer(x)
        return x


def functional_model():
    inputs = keras.Input((64,))
    x = dsr.SparseDense(16, name="a")(inputs)
    y = dsr.SparseDense(16, name="b")(inputs)
    return keras.Model(inputs, dsr.SparseDense(10, name="c")(keras.layers.Add()([x, y])))


def shared_model():
    inputs = keras.Input((64,))
    shared = dsr.SparseDense(64, name="shared")
    return keras.Model(inputs, shared(keras.layers.ReLU()(shared(inputs))))


def nested_model():
    inner = keras.Sequential([keras.Input((64,)), dsr.SparseDense(16, name="inner")])
    return keras.Sequential([keras.Input((64,)), inner, keras.layers.Dense(12), dsr.SparseDense(10, name="outer")])


def subclassed_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block("block")
            self.head = dsr.SparseDense(10, name="head")

        def call(self, x):
            return self.head(self.block(x))

    model = Model()
    model(batch())
    return model
