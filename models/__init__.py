"""Builders of the networks of the papers. Each takes the constructors of the layers that the paper makes sparse.

`thin_width` says how wide a dense network of the same size is.
"""

from models.alexnet import alexnet
from models.character_transformer import character_transformer
from models.deep_speech import deep_speech
from models.deep_speech_2 import deep_speech_2
from models.googlenet import googlenet
from models.hello_edge import hello_edge
from models.lenet import lenet_5, lenet_300_100
from models.neural_talk import neural_talk
from models.resnet import resnet_18, resnet_50, resnet_152
from models.squeezenet import squeezenet
from models.thin import thin_width
from models.vgg import vgg_16
from models.wide_resnet import wide_resnet

__all__ = [
    "alexnet",
    "character_transformer",
    "deep_speech",
    "deep_speech_2",
    "googlenet",
    "hello_edge",
    "lenet_5",
    "lenet_300_100",
    "neural_talk",
    "resnet_18",
    "resnet_50",
    "resnet_152",
    "squeezenet",
    "thin_width",
    "vgg_16",
    "wide_resnet",
]
