"""ResNet-50 on ImageNet, as in Mostafa & Wang, ICML 2019 (arXiv 1902.05967), section 4 and appendix.

    python -m train.run --model=resnet_50 --dataset=imagenet2012 --method=dsr --sparsity=0.8

Cost: 100 epochs of 5,004 steps, days on one GPU. (We have not run it to the end.) --precision=mixed_bfloat16, or
mixed_float16 where the chip has no other, computes in 16 bits; the paper's figures are of float32.
Expect, as in the paper: DSR 73.3% top-1 and 92.4% top-5 with 7.377M parameters, static 71.6% (in twice the epochs),
dense 74.9%; at --sparsity=0.9, DSR 71.6% and static 67.8% with 5.105M.

--method=dsd has the phases of Han et al., DSD, ICLR 2017 (arXiv 1607.04381): uniform sparsity 30%, learning rates .1,
.01, .001; their lengths are ours. Expect, as its authors report: 22.89% top-1 error of 24.01% dense.
"""

import dataclasses

from train.methods import DSR, SET, Compressed, DeepR, RigL, Static, Thin, dsd
from train.recipes.recipe import Recipe

MOVING = {"target": 400_000, "kernel_target": 40_000, "period": ((0, 1000), (25, 2000), (50, 4000), (75, 8000))}
RECIPE = Recipe(
    model="resnet_50",
    datasets=("imagenet2012",),
    sparsity=0.8,
    epochs=100,
    batch_size=256,
    learning_rates=((0, 0.1), (30, 0.01), (60, 0.001), (90, 0.0001)),
    weight_decay=1e-4,
    methods={
        "dsr": DSR(**MOVING),
        "set": SET(**MOVING, fractions=((0.9, 0.14), (0.8, 0.089))),
        "deepr": DeepR(temperatures=((0, 1e-5), (25, 1e-8), (50, 1e-12), (75, 1e-15))),
        "rigl": RigL(period=((0, 1600),)),  # 100 steps of batches of 4,096 (Evci et al., ICML 2020, arXiv 1911.11134)
        "compressed": Compressed(schedule="exponential"),
        "static": Static(lasts=2),
        "thin": Thin(lasts=2),
        **dsd(sparsities=(0.3,), dense=(100,), sparse=(50,), final=50, sparse_factor=0.1, final_factor=0.01),
    },
    stop_at=95,
    steps_per_execution=4,  # an epoch of 5,004 steps and the periods have no more in common
)

# Of the first version of the paper of DSD: two rounds, 52% over all layers in each, each layer by its sensitivity.
FIRST_VERSION = dataclasses.replace(
    RECIPE,
    methods={
        **RECIPE.methods,
        **dsd(sparsities=(0.52, 0.52), dense=(100, 50), sparse=(50, 50), final=50, by_sensitivity=True),
    },
)
