"""The keyword spotter of "Hello Edge" (Zhang et al. 2017, arXiv 1711.07128) on single spoken digits.

    python -m train.compare --model=hello_edge --dataset=keywords --methods=dense,static,dsr --sparsity=0.9 --seeds=3
    python -m train.compare --model=hello_edge --dataset=keywords --methods=dsr --sparsity=0.9 --pattern=4x1 --seeds=3

Cost: 40 s a run on 2 cores. Result: docs/serving.md. No paper has it: the recordings are those of `spoken_digit`, 300
of them the test.
"""

from train.methods import DSR, SET, RigL, dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="hello_edge",
    datasets=("keywords",),
    sparsity=0.9,
    epochs=40,
    batch_size=50,
    learning_rates=((0, 0.05), (20, 0.005), (30, 0.0005)),
    weight_decay=5e-4,
    methods={
        "dsr": DSR(target=0.05, period=((0, 44),)),
        "set": SET(target=0.05, period=((0, 44),)),
        "rigl": RigL(period=((0, 44),)),
        **dsd(sparsities=(0.5,), dense=(40,), sparse=(20,), final=20),
    },
    steps_per_execution=22,
)
