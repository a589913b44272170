"""DeepSpeech 2 with the phases of Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.run --recipe=deep_speech_2_wsj --method=dsd

Its corpus (WSJ) is not free: the command trains the network of full width on spoken digits. SGD with Nesterov
momentum, 20 epochs a phase. The sparsity is that of DeepSpeech, the learning rates are ours. Expect on WSJ'93, as its
authors report, 1.1 points of word error rate less. (We have not run it.)
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="deep_speech_2",
    datasets=("spoken_digit",),
    sparsity=0.5,
    epochs=20,
    batch_size=32,
    learning_rates=((0, 0.02), (12, 0.004), (17, 0.0008)),
    weight_decay=0.0,
    clip=2.0,
    methods=dsd(sparsities=(0.5,), dense=(20,), sparse=(20,), final=20),
)
