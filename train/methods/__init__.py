"""The methods of training that a run can use, by name, with the numbers that they have where a recipe gives none."""

from train.methods.at_initialization import AtInitialization
from train.methods.base import Marks, Method, Plan
from train.methods.dsd import DSD, DSDRandom, dsd
from train.methods.fixed import Dense, Hashed, Static, Thin
from train.methods.moving import DSR, MEST, SET, SNFS, DeepR, RigL
from train.methods.pruning import ACDC, Compressed, GraNet
from train.methods.straight_through import StraightThrough, TopKAST

METHODS: dict[str, Method] = {
    "dense": Dense(),
    "thin": Thin(),
    "hashed": Hashed(),
    "static": Static(),
    "snip": AtInitialization(worth="snip"),
    "grasp": AtInitialization(worth="grasp"),
    "synflow": AtInitialization(worth="synflow"),
    "set": SET(),
    "deepr": DeepR(),
    "dsr": DSR(),
    "mest": MEST(),
    "rigl": RigL(),
    "snfs": SNFS(),
    "straight_through": StraightThrough(),
    "top_kast": TopKAST(),
    "granet": GraNet(),
    "acdc": ACDC(),
    "compressed": Compressed(),
    "dsd": DSD(),
    "dsd_random": DSDRandom(),
}

__all__ = [
    "ACDC",
    "DSD",
    "DSR",
    "MEST",
    "METHODS",
    "SET",
    "SNFS",
    "AtInitialization",
    "Compressed",
    "DSDRandom",
    "DeepR",
    "Dense",
    "GraNet",
    "Hashed",
    "Marks",
    "Method",
    "Plan",
    "RigL",
    "Static",
    "StraightThrough",
    "Thin",
    "TopKAST",
    "dsd",
]
