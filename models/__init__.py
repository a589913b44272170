"""Builders of the networks of the papers. Each takes the constructors of the layers that the paper makes sparse."""

from models.lenet import lenet_300_100
from models.resnet import resnet_50
from models.wide_resnet import wide_resnet

__all__ = ["lenet_300_100", "resnet_50", "wide_resnet"]
