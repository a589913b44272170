"""Builders of the networks of the papers. Each takes the constructors of the layers that the paper makes sparse.

`thin_width` says how wide a dense network of the same size is.
"""

from models.lenet import lenet_300_100
from models.resnet import resnet_50
from models.thin import thin_width
from models.wide_resnet import wide_resnet

__all__ = ["lenet_300_100", "resnet_50", "thin_width", "wide_resnet"]
