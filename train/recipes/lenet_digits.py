"""LeNet-300-100 on the 8 x 8 digits of scikit-learn: the demonstration that needs no download.

    python -m train.compare --model=lenet_300_100 --dataset=digits --sparsity=0.98

Cost: about 10 s a run on 2 cores (60 epochs, 36 steps each); the comparison of three methods takes under a minute.
Expect, with 1,004 of 50,200 weights and seeds 0, 1, 2: DSR 96.4, 96.4, 98.6%; static 74.2, 59.7, 72.0%; dense 98.6,
98.6, 98.3%. No paper has it: the optimizer is that of LeNet-300-100 on MNIST, the batch and the period are cut
to the size of the data.
"""

from train.methods import DSR, MEST, SET, SNFS, CHTs, Compressed, DeepR, GraNet, RigL, StraightThrough, TopKAST, dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="lenet_300_100",
    datasets=("digits",),
    sparsity=0.98,
    epochs=60,
    batch_size=40,
    learning_rates=((0, 0.1), (30, 0.01), (45, 0.001)),
    weight_decay=5e-4,
    methods={
        "dsr": DSR(target=0.2, period=((0, 36),)),
        "set": SET(target=0.2, period=((0, 36),)),
        "deepr": DeepR(temperatures=((0, 1e-5), (8, 1e-8), (24, 1e-12), (42, 1e-15))),
        "mest": MEST(period=((0, 36),)),
        "rigl": RigL(period=((0, 36),), relative_to_output=True),
        "itop": RigL(fraction=0.5, ends=1.0, period=((0, 36),), relative_to_output=True),
        "srigl": RigL(period=((0, 36),), relative_to_output=True, min_salient=0.3),
        "chts": CHTs(period=((0, 36),)),
        "snfs": SNFS(relative_to_output=True),
        "straight_through": StraightThrough(decay=5e-3, relative_to_output=True),
        "top_kast": TopKAST(decay=5e-3, relative_to_output=True),
        "granet": GraNet(period=((0, 36),)),
        "compressed": Compressed(last_kernel_at_most=0.9),
        **dsd(sparsities=(0.5,), dense=(60,), sparse=(30,), final=30),
    },
    stop_at=55,
    steps_per_execution=36,
)
