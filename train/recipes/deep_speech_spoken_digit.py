"""A small DeepSpeech on spoken digits, dense and by DSD, after Han et al., DSD, ICLR 2017 (arXiv 1607.04381).

    python -m train.compare --model=deep_speech --dataset=spoken_digit --methods=dense,dsd --epochs=20 \\
        --steps_per_epoch=40 --seeds=3

Cost and result: docs/results.md. The network is a twelfth as wide as the paper's and the utterances are joined from the
recordings of `spoken_digit`; the sparsity is the paper's, 50%.
"""

from train.methods import dsd
from train.recipes.recipe import Recipe

RECIPE = Recipe(
    model="deep_speech",
    datasets=("spoken_digit",),
    sparsity=0.5,
    epochs=15,
    batch_size=32,
    learning_rates=((0, 0.02), (9, 0.004), (12.75, 0.0008)),
    weight_decay=0.0,
    clip=2.0,
    width=0.08,
    methods=dsd(sparsities=(0.5,), dense=(10,), sparse=(5,), final=5),
)
