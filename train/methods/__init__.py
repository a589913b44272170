"""The methods of training that a run can use, by name, with the numbers that they have where a recipe gives none."""

from train.methods.at_initialization import AtInitialization
from train.methods.base import Marks, Method, Plan
from train.methods.dsd import DSD, DSDRandom, dsd
from train.methods.fixed import Dense, Hashed, Static, Thin
from train.methods.moving import DSR, MEST, SET, SNFS, CHTs, DeepR, RigL
from train.methods.own import Own, is_own, load_own_method
from train.methods.pruning import ACDC, Compressed, GraNet, Movement
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
    "srigl": RigL(min_salient=0.3),
    "itop": RigL(fraction=0.5, ends=1.0, period=((0, 1500),)),
    "chts": CHTs(),
    "snfs": SNFS(),
    "straight_through": StraightThrough(),
    "top_kast": TopKAST(),
    "granet": GraNet(),
    "acdc": ACDC(),
    "movement": Movement(),
    "compressed": Compressed(),
    "dsd": DSD(),
    "dsd_random": DSDRandom(),
}


def find_method(name: str) -> Method:
    """A method of `METHODS`, or one of the user's own by its place, `module:name`."""
    return load_own_method(name) if is_own(name) else METHODS[name]


def kernels_of(name: str) -> str:
    """What the kernels are by a method, see `Method.kernels`; one of the user's own is not imported."""
    return Own.kernels if is_own(name) else METHODS[name].kernels


__all__ = [
    "ACDC",
    "DSD",
    "DSR",
    "MEST",
    "METHODS",
    "SET",
    "SNFS",
    "AtInitialization",
    "CHTs",
    "Compressed",
    "DSDRandom",
    "DeepR",
    "Dense",
    "GraNet",
    "Hashed",
    "Marks",
    "Method",
    "Movement",
    "Own",
    "Plan",
    "RigL",
    "Static",
    "StraightThrough",
    "Thin",
    "TopKAST",
    "dsd",
    "find_method",
    "is_own",
    "kernels_of",
]
