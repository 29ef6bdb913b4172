"""The network of every stage."""

from echocascade.nets.video_unet import UNetConfig, VideoUNet

__all__ = ["UNetConfig", "VideoUNet"]
