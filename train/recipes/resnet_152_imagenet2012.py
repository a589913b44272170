"""ResNet-152 on ImageNet by dense-sparse-dense training, as in Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --model=resnet_152 --dataset=imagenet2012 --method=dsd

Cost: 100 + 50 + 50 epochs of 5,004 steps, days on one GPU. (We have not run it to the end.)
Expect a gain of about a point; only the first version of the paper has this network.
The sparsity of 55% over all layers, each by its sensitivity, is the first version's. The lengths of the last two phases
are ours.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="resnet_152",
    datasets=("imagenet2012",),
    sparsity=0.55,
    epochs=100,
    batch_size=256,
    learning_rates=((0, 0.1), (30, 0.01), (60, 0.001), (90, 0.0001)),
    weight_decay=1e-4,
    methods=dsd(sparsities=(0.55,), dense=(100,), sparse=(50,), final=50, by_sensitivity=True),
)
