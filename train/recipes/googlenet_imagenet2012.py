"""GoogLeNet on ImageNet by dense-sparse-dense training, as in Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --model=googlenet --dataset=imagenet2012 --method=dsd

Cost: 60 + 30 + 30 epochs of 5,004 steps, days on one GPU. (We have not run it to the end.)
Expect, as its authors report: 30.02% top-1 and 10.34% top-5 error, of 31.14% and 10.96% dense.
Learning rates of the phases: 1e-2, 1e-3, 1e-4. There is one head here, without the auxiliary ones. The lengths of the
last two phases are ours.
"""

import dataclasses

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="googlenet",
    datasets=("imagenet2012",),
    sparsity=0.3,
    epochs=60,
    batch_size=256,
    learning_rates=((0, 0.01), (30, 0.001), (50, 0.0001)),
    weight_decay=2e-4,
    methods=dsd(sparsities=(0.3,), dense=(60,), sparse=(30,), final=30, sparse_factor=0.1, final_factor=0.01),
)
# Of the first version of the paper: 64% over all layers, each by its sensitivity.
FIRST_VERSION = dataclasses.replace(
    RECIPE, methods=dsd(sparsities=(0.64,), dense=(60,), sparse=(30,), final=30, by_sensitivity=True)
)
