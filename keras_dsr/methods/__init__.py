"""Methods: which weights are pruned and which are grown. One file a method, all under the contract of `Method`."""

from keras_dsr.methods.acdc import ACDC
from keras_dsr.methods.base import Decision, Grown, Method, MethodInputs, PrunedTraining
from keras_dsr.methods.chts import CHTs
from keras_dsr.methods.deepr import DeepR
from keras_dsr.methods.density_schedule import DensitySchedule
from keras_dsr.methods.dropping import drop_smallest, smallest_active
from keras_dsr.methods.dsd import DSD
from keras_dsr.methods.dsr import DSR
from keras_dsr.methods.gradual_pruning import GradualPruning
from keras_dsr.methods.granet import GraNet
from keras_dsr.methods.growth import grow_at_random, grow_where_largest, taken_in_all, taken_in_each
from keras_dsr.methods.mest import MEST
from keras_dsr.methods.movement_pruning import MovementPruning
from keras_dsr.methods.rigl import RigL
from keras_dsr.methods.set import SET
from keras_dsr.methods.snfs import SNFS
from keras_dsr.methods.static import Static
from keras_dsr.methods.straight_through import StraightThrough
from keras_dsr.methods.top_kast import TopKAST

__all__ = [
    "ACDC",
    "DSD",
    "DSR",
    "MEST",
    "SET",
    "SNFS",
    "CHTs",
    "Decision",
    "DeepR",
    "DensitySchedule",
    "GraNet",
    "GradualPruning",
    "Grown",
    "Method",
    "MethodInputs",
    "MovementPruning",
    "PrunedTraining",
    "RigL",
    "Static",
    "StraightThrough",
    "TopKAST",
    "drop_smallest",
    "grow_at_random",
    "grow_where_largest",
    "smallest_active",
    "taken_in_all",
    "taken_in_each",
]
