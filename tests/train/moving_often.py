"""A program of ours with a recipe of ResNet-50 that moves weights every 2 steps: `python -m tests.train.moving_often
train.run --model=resnet_50 ...`: the tiny data sets of tests have no 1,000 steps.
"""

import dataclasses
import runpy
import sys

from train.recipes import RECIPES

NAME = "resnet_50_imagenet2012"
MOVING_OFTEN = dataclasses.replace(RECIPES[NAME], period=((0, 2),), rigl_period=((0, 2),))

if __name__ == "__main__":
    RECIPES[NAME] = MOVING_OFTEN
    program = sys.argv.pop(1)
    runpy.run_module(program, run_name="__main__", alter_sys=True)
