"""Clips inside notebooks and pages: H.264 in data URIs, playing anywhere without a network."""

import base64
import html
from collections.abc import Sequence

import numpy as np

from echocascade.data.video import encode_mp4

# styles travel with the fragment, so a clip looks the same in JupyterLab and in a report
_ROW = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;margin:8px 0"
_CARD = (
    "margin:0;background:#0c0f13;border-radius:8px;overflow:hidden;"
    "width:{width}px;max-width:100%;box-sizing:border-box"
)
_VIDEO = (
    "display:block;width:100%;aspect-ratio:{aspect};image-rendering:{rendering};background:#000"
)
_CAPTION = (
    "padding:6px 10px 8px;color:#d7dde5;font:500 12px/1.35 system-ui,sans-serif;"
    "text-align:center;overflow-wrap:anywhere"
)


class ClipRow:
    """A row of looping clips with captions, shown by Jupyter and by the report."""

    def __init__(self, fragment: str, n_clips: int) -> None:
        self._fragment = fragment
        self._n_clips = n_clips

    def _repr_html_(self) -> str:
        return self._fragment

    def __repr__(self) -> str:
        return f"<{self._n_clips} clip{'s' if self._n_clips != 1 else ''}>"


def clip_html(
    clips: np.ndarray | Sequence[np.ndarray],
    fps: float,
    labels: Sequence[str] = (),
    *,
    width: int = 168,
    smooth: bool = False,
) -> ClipRow:
    """Clips side by side, each a looping muted video with its label underneath.

    `clips`: one clip uint8 (T, H, W, C) with C 1 or 3, several (N, T, H, W, C), or a list of
    clips. `fps`: frames per second. `labels`: one text a clip (escaped), or none. `width`: CSS
    pixels of a card. Pixels keep hard edges unless `smooth`.
    """
    single = isinstance(clips, np.ndarray) and clips.ndim == 4
    videos: list[np.ndarray] = [np.asarray(clips)] if single else list(clips)
    if labels and len(labels) != len(videos):
        raise ValueError(f"{len(labels)} labels for {len(videos)} clips")
    texts = list(labels) or [""] * len(videos)
    cards = [
        _card(video_tag(frames, fps, smooth=smooth), text, width)
        for frames, text in zip(videos, texts, strict=True)
    ]
    return ClipRow(f'<div class="clips" style="{_ROW}">{"".join(cards)}</div>', len(videos))


def video_tag(frames: np.ndarray, fps: float, *, smooth: bool = False) -> str:
    """A ``<video>`` element with its H.264 file inside; `frames` uint8 (T, H, W, C)."""
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise ValueError(
            f"a clip must be uint8 (T, H, W, C), found {frames.dtype} of shape {frames.shape}"
        )
    height, width = frames.shape[1:3]
    scale = crisp_scale(max(height, width))
    data = base64.b64encode(encode_mp4(frames, fps, scale=scale)).decode("ascii")
    style = _VIDEO.format(aspect=f"{width}/{height}", rendering="auto" if smooth else "pixelated")
    return (
        f'<video autoplay loop muted playsinline preload="auto" style="{style}"'
        f' src="data:video/mp4;base64,{data}"></video>'
    )


def crisp_scale(size: int, target: int = 112) -> int:
    """Whole-number enlargement that brings a small clip near `target` pixels before encoding.

    H.264 works on blocks of 8 pixels; a 28-pixel heart encoded as it is loses more than one
    enlarged first, for a few kilobytes.
    """
    return max(1, target // size)


def image_tag(image: np.ndarray, alt: str) -> str:
    """An ``<img>`` element with a PNG inside; `image` uint8 (H, W, C), C 1 or 3."""
    import cv2

    channels = image[..., ::-1] if image.shape[-1] == 3 else image
    done, png = cv2.imencode(".png", np.ascontiguousarray(channels))
    if not done:
        raise ValueError(f"an image of shape {image.shape} could not be encoded as PNG")
    data = base64.b64encode(png.tobytes()).decode("ascii")
    style = "display:block;width:100%;image-rendering:pixelated"
    return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'


def _card(element: str, label: str, width: int) -> str:
    caption = f'<figcaption style="{_CAPTION}">{html.escape(label)}</figcaption>' if label else ""
    return f'<figure style="{_CARD.format(width=width)}">{element}{caption}</figure>'
