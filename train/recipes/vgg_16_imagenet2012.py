"""VGG-16 on ImageNet by dense-sparse-dense training, as in Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --model=vgg_16 --dataset=imagenet2012 --method=dsd

Cost: 74 + 37 + 37 epochs of 5,004 steps, days on one GPU. (We have not run it to the end.)
Expect, as its authors report: 27.19% top-1 and 8.67% top-5 error, of 31.50% and 11.32% dense.
Learning rates of the phases: 1e-2, 1e-4, 1e-5. The lengths of the last two phases are ours.
"""

import dataclasses

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="vgg_16",
    datasets=("imagenet2012",),
    sparsity=0.3,
    epochs=74,
    batch_size=256,
    learning_rates=((0, 0.01), (30, 0.001), (60, 0.0001)),
    weight_decay=5e-4,
    methods=dsd(sparsities=(0.3,), dense=(74,), sparse=(37,), final=37, sparse_factor=0.01, final_factor=0.001),
)
# Of the first version of the paper: 35% over all layers, each by its sensitivity.
FIRST_VERSION = dataclasses.replace(
    RECIPE, methods=dsd(sparsities=(0.35,), dense=(74,), sparse=(37,), final=37, by_sensitivity=True)
)
