"""A small NeuralTalk that tells what is in images of CIFAR-10, by DSD, after Han et al., ICLR 2017 (arXiv 1607.04381).

    python -m train.compare --model=neural_talk --dataset=cifar10_captions --methods=dense,dsd --seeds=3 --epochs=12

Cost and result: docs/results.md. The network is an eighth as wide as the paper's; the sparsity is the paper's, 80%, and
the word embedding is not cut.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="neural_talk",
    datasets=("cifar10_captions",),
    sparsity=0.8,
    epochs=8,
    batch_size=100,
    learning_rates=((0, 0.2), (4, 0.04), (6.4, 0.008)),
    weight_decay=0.0,
    clip=1.0,
    width=0.125,
    methods=dsd(sparsities=(0.8,), dense=(6,), sparse=(3,), final=3),
)
