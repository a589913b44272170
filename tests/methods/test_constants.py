"""What makes an object a method: it can be told from others at once, and its constants have defaults."""

import re
from typing import ClassVar

import pytest

import keras_dsr as dsr
from keras_dsr.methods.base import Constants, check_method, constants_of

pytestmark = pytest.mark.once


class Still:
    """A method of somebody's own, who says nothing but what it does."""

    def init(self, view):
        return {}

    def update(self, view, state, seed):
        return view.weights, view.masks, state


class Saying(Still):
    def __init__(self, **constants):
        vars(self).update(constants)


def test_a_method_need_not_define_constants():
    check_method(Still(), "Reallocate")
    assert constants_of(Still()) == Constants(False, False, None, False)
    callback = dsr.Reallocate(Still())
    assert callback._period_at(0) == 100


@pytest.mark.parametrize(
    ("method", "constants"),
    [
        (dsr.methods.DSR(), (True, False, None, True)),
        (dsr.methods.DeepR(), (True, True, None, True)),
        (dsr.methods.GradualPruning(), (False, False, None, False)),
        (dsr.methods.RigL(), (True, False, 0.0, False)),
        (dsr.methods.SNFS(momentum=0.5), (True, False, 0.5, False)),
    ],
)
def test_what_a_method_says_goes_before_the_defaults(method, constants):
    assert constants_of(method) == constants


class WithoutUpdate:
    def init(self, view):
        return {}


class NotToBeCalled:
    init: ClassVar = {}
    update = None


@pytest.mark.parametrize(
    ("method", "received"),
    [
        ("dsr", "method='dsr' (of type str), which has no init and no update to call"),
        (None, "method=None (of type NoneType), which has no init and no update to call"),
        (dsr.methods.DSR, f"method={dsr.methods.DSR!r}, which is a class: make an instance of it, such as DSR()"),
        (WithoutUpdate(), "(of type WithoutUpdate), which has no update to call"),
        (NotToBeCalled(), "(of type NotToBeCalled), which has no init and no update to call"),
    ],
)
def test_what_is_no_method_is_refused_at_once(method, received):
    message = (
        r"Reallocate\(method=\.\.\.\) must be a method, such as keras_dsr\.methods\.DSR\(target=600\), or .*"
        + re.escape(received)
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
