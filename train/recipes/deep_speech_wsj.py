"""DeepSpeech with the phases of Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --recipe=deep_speech_wsj --method=dsd

Its corpus (WSJ) is not free: the command trains the network of full width on spoken digits. Two rounds of 50 epochs a
phase, 50% and then 25% of the dense and recurrent layers are cut. Learning rates are ours. Expect on WSJ'93, as its
authors report, 2.0 points of word error rate less. (We have not run it.)
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="deep_speech",
    datasets=("spoken_digit",),
    sparsity=0.5,
    epochs=50,
    batch_size=32,
    learning_rates=((0, 0.02), (30, 0.004), (42, 0.0008)),
    weight_decay=0.0,
    clip=2.0,
    methods=dsd(sparsities=(0.5, 0.25), dense=(50, 50), sparse=(50, 50), final=50),
)
