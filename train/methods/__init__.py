"""The methods of training that a run can use, by name, with the numbers that they have where a recipe gives none."""

from train.methods.base import Marks, Method, Plan
from train.methods.dsd import DSD, DSDRandom, dsd
from train.methods.fixed import Dense, Hashed, Static, Thin
from train.methods.moving import DSR, SET, SNFS, DeepR, RigL, StraightThrough
from train.methods.pruning import Compressed

METHODS: dict[str, Method] = {
    "dense": Dense(),
    "thin": Thin(),
    "hashed": Hashed(),
    "static": Static(),
    "set": SET(),
    "deepr": DeepR(),
    "dsr": DSR(),
    "rigl": RigL(),
    "snfs": SNFS(),
    "straight_through": StraightThrough(),
    "compressed": Compressed(),
    "dsd": DSD(),
    "dsd_random": DSDRandom(),
}

__all__ = [
    "DSD",
    "DSR",
    "METHODS",
    "SET",
    "SNFS",
    "Compressed",
    "DSDRandom",
    "DeepR",
    "Dense",
    "Hashed",
    "Marks",
    "Method",
    "Plan",
    "RigL",
    "Static",
    "StraightThrough",
    "Thin",
    "dsd",
]
