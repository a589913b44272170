"""NeuralTalk with the phases of Han et al., DSD, ICLR 2017 (arXiv 1607.04381), which trains it on Flickr-8K.

    python -m train.run --recipe=neural_talk_flickr8k --method=dsd

TensorFlow Datasets has no Flickr-8K, so the command trains the network of full width on the captions of CIFAR-10. 80%
of every layer but the word embedding are cut. Epochs and learning rates are ours. Expect on Flickr-8K, as its authors
report, a BLEU that is 1.7 points higher. (We have not run it.)
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="neural_talk",
    datasets=("cifar10_captions",),
    sparsity=0.8,
    epochs=50,
    batch_size=100,
    learning_rates=((0, 0.2), (25, 0.04), (40, 0.008)),
    weight_decay=0.0,
    clip=1.0,
    methods=dsd(sparsities=(0.8,), dense=(50,), sparse=(25,), final=25),
)
