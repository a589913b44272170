"""A program of ours with a recipe of ResNet-50 that moves weights every 2 steps: `python -m tests.train.moving_often
train.run --model=resnet_50 ...`: the tiny data sets of tests have no 1,000 steps.
"""

import dataclasses
import runpy
import sys

from train.recipes import RECIPES

NAME = "resnet_50_imagenet2012"
_METHODS = RECIPES[NAME].methods
OFTEN = {name: dataclasses.replace(_METHODS[name], period=((0, 2),)) for name in ("dsr", "set", "rigl")}
MOVING_OFTEN = dataclasses.replace(RECIPES[NAME], methods={**_METHODS, **OFTEN})

if __name__ == "__main__":
    RECIPES[NAME] = MOVING_OFTEN
    program = sys.argv.pop(1)
    runpy.run_module(program, run_name="__main__", alter_sys=True)
