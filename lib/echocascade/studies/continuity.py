"""Whether a longer clip has a seam where its windows meet, and whether it keeps its pace."""

import numpy as np
import pandas as pd
from einops import reduce
from numpy.typing import NDArray

from echocascade.cascade.extension import beat_frames
from echocascade.data.frames import Frames
from echocascade.data.video import to_model
from echocascade.studies.stills import Made

USUAL = 0.95  # quantile of the changes elsewhere that changes where windows meet are held against


def continuity_table(made: Made, window: int) -> pd.DataFrame:
    """One row a clip: how it changes where windows of `window` frames meet, and its beats.

    asked (percent); change_ratio: mean change from frame to frame where two windows fade into each
    other, over that elsewhere, 1 is no seam; beyond: share of those changes above the 95 % quantile
    of the others, about 0.05 without a seam; beats_first and beats_last: beats a minute in the
    first and in the last window, NaN where a clip has no pace.
    """
    rows = []
    for ask, video in zip(made.asks, made.videos, strict=True):
        change = frame_changes(video)
        meets = meeting_changes(len(video), window)
        usual = np.quantile(change[~meets], USUAL)
        beats = [beats_a_minute(part, made.fps) for part in (video[:window], video[-window:])]
        rows.append(
            {
                "asked": ask.lvef_percent,
                "change_ratio": change[meets].mean() / max(change[~meets].mean(), 1e-9),
                "beyond": float((change[meets] > usual).mean()),
                "beats_first": beats[0], "beats_last": beats[1],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def frame_changes(video: Frames) -> NDArray[np.float64]:
    """Mean absolute change (T - 1,) in grey levels from each frame of (T, H, W, C) to the next."""
    change = np.abs(np.diff(video.astype(np.float64), axis=0))
    return np.asarray(reduce(change, "t h w c -> t", "mean"))


def meeting_changes(n_frames: int, window: int) -> NDArray[np.bool_]:
    """Which of the n_frames - 1 changes lie where one window fades into the next.

    Windows start half a window after each other; the second quarter of each is the fade.
    """
    hop = window // 2
    place = np.arange(1, n_frames)
    fading = (place >= hop + hop // 2) & (place % hop >= hop // 2)
    return fading | ((place > hop) & (place % hop == 0))


def beats_a_minute(video: Frames, fps: float) -> float:
    """The rate at which (T, H, W, C) is most alike itself; NaN where none stands out."""
    beat = float(beat_frames(to_model(video[None]), fps)[0])
    return 60 * fps / beat if beat < len(video) else float("nan")
