"""The network of every stage, and the optimiser of small networks."""

from echocascade.nets.entrance import Entrance
from echocascade.nets.muon import Muon, set_rates
from echocascade.nets.video_unet import UNetConfig, VideoUNet

__all__ = ["Entrance", "Muon", "UNetConfig", "VideoUNet", "set_rates"]
