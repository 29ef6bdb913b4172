"""How far the segmentation stick can be trusted: its error on phantoms it was not made on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echocascade.data.frames import resample_time, resize
from echocascade.data.phantom import PHANTOM_VERSION, PhantomClip, render_clip
from echocascade.evaluation.metrics import Interval, agreement, bootstrap_interval
from echocascade.evaluation.stick import ejected_percent, segment_lvef

# "judged": as the clips of quick are judged, 56 pixels, 32 frames at 16 frames/s; "drawn": 112
# pixels at the frame rate of the phantom's machine.
VIEWS = ("judged", "drawn")
JUDGED_SIZE, JUDGED_FRAMES, JUDGED_FPS = 56, 32, 16
# The stick's constants were chosen, and its line was fitted, on clips of these seeds.
TUNING_SEEDS = (9001, 9003)
_DURATION_S = (2.1, 2.3)  # 32 frames at 16 frames/s and hardly more

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class StickError:
    """Agreement of the stick with the truth of `n_clips` phantoms, LVEF uniform in 10..90 %.

    truth, read (N,): percent, NaN where the stick cannot read; raw (N,): before its line; scores
    and intervals (95 %) of the clips read; line: slope and intercept of raw on truth.
    """

    view: str
    seed: int
    truth: NDArray[np.float64]
    read: NDArray[np.float64]
    raw: NDArray[np.float64]
    scores: dict[str, float]
    intervals: dict[str, Interval]
    line: tuple[float, float]
    milliseconds: float

    @property
    def content(self) -> dict[str, object]:
        """What ``echocascade stick-error --json`` prints."""
        known = np.isfinite(self.read)
        return {
            "phantom_version": PHANTOM_VERSION, "seed": self.seed, "view": self.view,
            "n_clips": len(self.truth), "n_unread": int((~known).sum()), **self.scores,
            **{f"{k}_interval": [i.low, i.high] for k, i in self.intervals.items()},
            "raw_slope": self.line[0], "raw_intercept": self.line[1],
            "milliseconds_per_clip": self.milliseconds,
        }  # fmt: skip

    @property
    def text(self) -> str:
        """A few lines for people."""
        s, mae = self.scores, self.intervals["MAE"]
        return (
            f"{len(self.truth)} phantoms (version {PHANTOM_VERSION}, seed {self.seed}), "
            f"{self.view}: MAE {s['MAE']:.2f} points ({mae.low:.2f} to {mae.high:.2f}), RMSE "
            f"{s['RMSE']:.2f}, R2 {s['R2']:.3f}, r {s['r']:.3f}, slope {s['slope']:.3f}, bias "
            f"{s['bias']:+.2f}\nunread: {int(np.isnan(self.read).sum())}; {self.milliseconds:.0f} "
            f"ms a clip\nwithout its line the stick reads {self.line[0]:.4f} x truth "
            f"{self.line[1]:+.3f}"
        )


def phantom_error(
    seed: int, clips: int, view: str = "judged", progress: Progress | None = None
) -> StickError:
    """Render phantoms 0 .. clips - 1 of `seed` and read them.

    Raises:
        ValueError: an unknown view, or fewer than 3 clips.
    """
    if view not in VIEWS:
        raise ValueError(f"view is {view!r}; allowed are {', '.join(VIEWS)}")
    if clips < 3:
        raise ValueError(f"clips is {clips}; at least 3 are needed")
    truth, read, raw, spent = [], [], [], 0.0
    for index, clip in enumerate(_phantoms(seed, clips)):
        frames, duration_s = viewed(clip, view)
        start = time.perf_counter()
        reading = segment_lvef(frames, duration_s)
        spent += time.perf_counter() - start
        truth.append(clip.lvef_percent)
        read.append(reading.lvef_percent)
        raw.append(ejected_percent(reading.volume))
        if progress is not None:
            progress(index + 1, clips, "phantoms read")
    return _report(view, seed, [np.array(values) for values in (truth, read, raw)], spent / clips)


def _phantoms(seed: int, clips: int) -> Iterator[PhantomClip]:
    for index in range(clips):
        yield render_clip(seed, index, lvef="uniform", duration_s=_DURATION_S)


def viewed(clip: PhantomClip, view: str) -> tuple[NDArray[np.uint8], float]:
    """The clip's frames in one of `VIEWS`, and their duration in seconds."""
    if view == "drawn":
        return clip.frames, len(clip.frames) / clip.fps
    slow = resample_time(clip.frames, clip.fps, JUDGED_FPS)[:JUDGED_FRAMES]
    return resize(slow, JUDGED_SIZE), JUDGED_FRAMES / JUDGED_FPS


def _report(view: str, seed: int, columns: list[NDArray[np.float64]], seconds: float) -> StickError:
    truth, read, raw = columns
    known = np.isfinite(read)
    slope, intercept = np.polyfit(truth[known], raw[known], 1)
    return StickError(
        view, seed, truth, read, raw,
        scores=agreement(truth[known], read[known]),
        intervals=bootstrap_interval(truth[known], read[known], seed=seed),
        line=(float(slope), float(intercept)),
        milliseconds=1000 * seconds,
    )  # fmt: skip
