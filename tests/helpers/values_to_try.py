"""Values that were not meant for an argument."""

import math
from typing import Any

import keras
import numpy as np

import keras_dsr as dsr


class Stranger:
    """Of no use to any function here."""


def values_to_try() -> dict[str, Any]:
    """What an argument may be given that was not meant for it; every value is tried for every argument."""
    return {
        "None": None,
        "True": True,
        "False": False,
        "0": 0,
        "1": 1,
        "-1": -1,
        "7": 7,
        "0.5": 0.5,
        "1.5": 1.5,
        "-0.5": -0.5,
        "nan": math.nan,
        "numpy's nan": np.float32("nan"),
        "inf": math.inf,
        "-inf": -math.inf,
        "10**400": 10**400,
        "1e308": 1e308,
        "1e-320": 1e-320,
        "complex": 1j,
        "empty string": "",
        "string": "nonsense",
        "expression": "(",
        "null": "\0",
        "bytes": b"x",
        "empty list": [],
        "[7]": [7],
        "list of strings": ["nonsense"],
        "list of None": [None],
        "pairs of strings": [(0, "x")],
        "pairs of nan": [(0, math.nan)],
        "pairs that do not rise": [(0, 1), (0, 2)],
        "empty tuple": (),
        "empty dict": {},
        "dict of strings": {"x": "y"},
        "dict of numbers": {7: 0.5},
        "set": {7},
        "array": np.array([0.25, 0.5]),
        "array of strings": np.array(["a", "b"]),
        "object": Stranger(),
        "class": Stranger,
        "class of methods": dsr.methods.DSR,
        "class of layers": keras.layers.Dense,
        "method": dsr.methods.Static(),
        "function": lambda *given: 5,
        "unbuilt layer": keras.layers.Dense(3, name="lonely"),
        "unbuilt model": keras.Sequential([keras.layers.Dense(3)], name="unbuilt"),
        "another model": keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)], name="another"),
    }
