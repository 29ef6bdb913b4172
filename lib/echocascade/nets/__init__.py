"""The network of every stage."""

from echocascade.nets.entrance import Entrance
from echocascade.nets.video_unet import UNetConfig, VideoUNet

__all__ = ["Entrance", "UNetConfig", "VideoUNet"]
