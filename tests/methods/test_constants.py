"""What makes an object a method: it can be told from others at once, and what it says of itself has defaults."""

import re

import pytest

import keras_dsr as dsr
from keras_dsr.methods import Decision, Method
from keras_dsr.methods.base import check_method

pytestmark = pytest.mark.once


class Still(Method):
    """A method of somebody's own, who says nothing but what it does."""

    def init(self, inputs):
        return {}

    def update(self, inputs, state):
        return Decision(inputs.active), state


class Saying(Still):
    def __init__(self, **constants):
        vars(self).update(constants)


def said(method) -> tuple:
    return method.conserves, method.every_step, method.gradient_decay


def test_a_method_need_not_say_anything_of_itself():
    check_method(Still(), "Reallocate")
    assert said(Still()) == (False, False, None)
    callback = dsr.Reallocate(Still())
    assert callback._period_at(0) == 100


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (dsr.methods.DSR(), (True, False, None)),
        (dsr.methods.DeepR(), (True, True, None)),
        (dsr.methods.GradualPruning(), (False, False, None)),
        (dsr.methods.RigL(), (True, False, 0.0)),
        (dsr.methods.SNFS(momentum=0.5), (True, False, 0.5)),
    ],
)
def test_what_a_method_says_goes_before_the_defaults(method, expected):
    assert said(method) == expected


class WithoutUpdate(Method):
    def init(self, inputs):
        return {}


def test_a_method_has_both_functions():
    with pytest.raises(TypeError, match="abstract method '?update"):
        WithoutUpdate()


class OfNoMethod:
    """What the contract of version 0.1.0 asked for."""

    def init(self, view):
        return {}

    def update(self, view, state, seed):
        return view.weights, view.masks, state


@pytest.mark.parametrize(
    ("method", "received"),
    [
        ("dsr", "method='dsr' (of type str)"),
        (None, "method=None (of type NoneType)"),
        (dsr.methods.DSR, f"method={dsr.methods.DSR!r}, a class: make an instance of it, such as DSR()"),
        (OfNoMethod(), "(of type OfNoMethod)"),
    ],
)
def test_what_is_no_method_is_refused_at_once(method, received):
    message = (
        r"Reallocate\(method=\.\.\.\) must be a method, such as keras_dsr\.methods\.DSR\(target=600\), or an instance "
        r"of a class of one's own that inherits from keras_dsr\.methods\.Method\. Received: .*" + re.escape(received)
    )
    with pytest.raises(TypeError, match=message):
        dsr.Reallocate(method)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"conserves": "yes"}, r"a constant 'conserves' that must be True or False\. Received: .* it is 'yes'"),
        ({"every_step": None}, r"a constant 'every_step' that must be True or False\. Received: .* it is None"),
        (
            {"gradient_decay": 1},
            r"a constant 'gradient_decay' that must be None or a float in \[0, 1\)\. Received: .* it is 1",
        ),
        (
            {"gradient_decay": True},
            r"a constant 'gradient_decay' that must be None or a float in \[0, 1\)\. .* it is True",
        ),
    ],
)
def test_constants_out_of_range_are_refused_at_once(constants, message):
    with pytest.raises(ValueError, match=rf"Reallocate\(method=\.\.\.\) has {message}"):
        dsr.Reallocate(Saying(**constants))
