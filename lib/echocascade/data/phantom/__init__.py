"""A beating-ventricle phantom with known LVEF and tracings, laid out as EchoNet-Dynamic."""

from echocascade.data.phantom.clip import ClipFacts, PhantomClip, render_clip
from echocascade.data.phantom.dataset import PHANTOM_VERSION, make_phantom

__all__ = ["PHANTOM_VERSION", "ClipFacts", "PhantomClip", "make_phantom", "render_clip"]
