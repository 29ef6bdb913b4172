"""Clips longer than the cascade's own: further windows that continue the last frames.

Every stage samples windows of its own length that begin half a window after each other. The first
quarter of a window is held as the window before left it, in the sampler, at every noise level
(`diffusion.inpainting`); over the second quarter the two windows fade into each other; the last
half is new. The first stage's new frames start from a guess, the clip's own beats gone on at their
own pace, with noise on top that hides speckle and small motion but not the phase of the beat:
windows sampled from noise alone chose a rate of their own each, since half a window holds hardly a
beat. Later stages need no guess; the longer low-resolution video tells them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from echocascade.cascade.synthesis import Cascade, Guidance, LoadedStage, Watch
from echocascade.cascade.window import Known
from echocascade.params import StageParams

RATES_HZ = (0.7, 2.2)  # of hearts: 42 to 132 beats a minute
SMALLEST_GAIN = 0.15  # how much more alike frames a beat apart must be for the beat to be believed
AS_GOOD = 0.2  # of the gain that a shorter lag may lack
GUESS_FROM = 1.2  # times sigma_data: above, the phase drifts; below, beats become copies


@dataclass(frozen=True)
class Request:
    """What the clip was sampled with: see `Cascade.sample`."""

    I_c: Tensor
    lambda_c: Tensor
    seeds: Sequence[int]
    guidance: Guidance | None = None


def extend(
    cascade: Cascade,
    clips: Sequence[Tensor],
    request: Request,
    seconds: float,
    watch: Watch | None = None,
) -> list[Tensor]:
    """Clips of every stage (N, C, T', H, W) in [-1, 1], `seconds` long, that begin as `clips` do.

    clips: what `Cascade.sample` returned for `request`; their first three quarters stay as they
    are, the rest fades into the second window.
    Raises:
        ValueError: fewer seconds than the clips have, or clips of other stages.
    """
    own = cascade.params.cascade.stages
    if len(clips) != len(own):
        raise ValueError(f"{len(clips)} clips for a cascade of {len(own)} stages")
    if seconds < own[0].duration_s:
        raise ValueError(
            f"{seconds:g} s were asked for; the clip has {own[0].duration_s:g} s already"
        )
    first, windows = own[0].n_frames, windows_for(own[0], seconds)
    longer: list[Tensor] = []
    for stage, clip in zip(cascade.stages, clips, strict=True):
        part = stage.stage.params
        hop = first // 2 * (part.n_frames // first)
        beat = None if longer else beat_frames(clip, part.fps)
        video = clip
        for window in range(1, windows + 1):
            known = _known(stage, video, window, hop)
            if beat is not None:
                known = _with_guess(known, clip, beat, window * hop, stage)
            new = stage.sample(
                request.I_c, request.lambda_c, request.seeds, seed=cascade.params.seed,
                lowres=_slice(longer[-1], stage, window, hop) if longer else None,
                guidance=request.guidance, known=known, watch=watch,
            ).float().cpu()  # fmt: skip
            video = _joined(video, new, window * hop, int(known.held.sum()))
        longer.append(video)
    return [v[:, :, : round(seconds * s.fps)] for v, s in zip(longer, own, strict=True)]


def windows_for(first: StageParams, seconds: float) -> int:
    """How many further windows a clip of `seconds` needs in every stage."""
    missing = seconds * first.fps - first.n_frames
    return max(math.ceil(missing / (first.n_frames // 2) - 1e-9), 0)


def _known(stage: LoadedStage, video: Tensor, window: int, hop: int) -> Known:
    """What window number `window`, which starts at frame window x hop, shares with the video so
    far, zeros after that; the first half of it is held.
    """
    n_frames, start = stage.stage.params.n_frames, window * hop
    shared = n_frames - hop
    return Known(
        F.pad(video[:, :, start : start + shared], (0, 0, 0, 0, 0, hop)),
        torch.arange(n_frames) < (shared + 1) // 2,
        window,
    )


def _with_guess(known: Known, clip: Tensor, beat: Tensor, start: int, stage: LoadedStage) -> Known:
    """`known`, with the clip's own beats gone on where the video so far has nothing yet."""
    n_frames = len(known.held)
    shared = n_frames - n_frames // 2
    guess = going_on(clip, beat, start + shared, n_frames - shared)
    video = torch.cat([known.video[:, :, :shared], guess], dim=2)
    return replace(known, video=video, guess_from=GUESS_FROM * stage.stage.statistics.sigma_data)


def _joined(video: Tensor, new: Tensor, start: int, held: int) -> Tensor:
    """A window put to the video that it continues: held frames, then one fades into the other.

    Both show the same heart at the same instants, so a fade moves nothing; without it the speckle
    would change from one frame to the next.
    """
    shared = min(video.shape[2] - start, new.shape[2])
    weight = torch.linspace(0, 1, shared - held + 2)[1:-1]
    old, fresh = video[:, :, start + held : start + shared], new[:, :, held:shared]
    mixed = torch.lerp(old, fresh, rearrange(weight, "t -> t 1 1"))
    return torch.cat([video[:, :, : start + held], mixed, new[:, :, shared:]], dim=2)


def _slice(lowres: Tensor, stage: LoadedStage, window: int, hop: int) -> Tensor:
    """The part of the previous stage's long video that lies under a window of this stage."""
    before = stage.stage.before
    assert before is not None  # only later stages have a low-resolution input
    start = window * hop * before.n_frames // stage.stage.params.n_frames
    return lowres[:, :, start : start + before.n_frames]


def beat_frames(clip: Tensor, fps: float) -> Tensor:
    """The length of a beat (N,) in frames: the lag at which a clip (N, C, T, H, W) is most alike.

    The shortest lag, between those of 132 and 42 beats a minute, that is about as good as the best
    (two beats are as alike as one), to a fraction of a frame by a parabola. Where no lag stands
    out, the whole clip is taken as one beat: it is then played on from its start.
    """
    frames = rearrange(clip, "n c t h w -> (n t) c h w")
    small = F.avg_pool2d(frames, 2) if clip.shape[-1] >= 16 else frames
    moving = rearrange(small, "(n t) c h w -> n t (c h w)", n=len(clip))
    moving = moving - moving.mean(1, keepdim=True)
    whole = torch.full((len(clip),), float(clip.shape[2]))
    first, last = int(fps / RATES_HZ[1]), min(math.ceil(fps / RATES_HZ[0]), clip.shape[2] - 3)
    if first < 2 or last <= first:
        return whole
    lags = range(first - 1, last + 2)
    cost = torch.stack(
        [(moving[:, lag:] - moving[:, :-lag]).square().mean((1, 2)) for lag in lags], dim=1
    )
    before, here, after = cost[:, :-2], cost[:, 1:-1], cost[:, 2:]
    unlike = 2 * moving.square().mean((1, 2))[:, None]
    best = here.min(1, keepdim=True).values
    good = (here <= before) & (here <= after) & (here <= best + AS_GOOD * (unlike - best))
    place = good.to(torch.uint8).argmax(1, keepdim=True)
    bend = (before - 2 * here + after).gather(1, place).clamp_min(1e-12)
    shift = ((before - after).gather(1, place) / (2 * bend)).clamp(-0.5, 0.5)
    found = good.any(1) & (best < (1 - SMALLEST_GAIN) * unlike)[:, 0]
    return torch.where(found, (place + shift)[:, 0] + first, whole)


def _at(frames: Tensor, place: Tensor) -> Tensor:
    """Frames (N, P, D) at places (P,) between the frames of (N, T, D), linear in time."""
    left = place.floor().long().clamp(0, frames.shape[1] - 1)
    right = (left + 1).clamp_max(frames.shape[1] - 1)
    weight = (place - left).to(frames.dtype)[:, None]
    return torch.lerp(frames[:, left], frames[:, right], weight)


def going_on(clip: Tensor, beat: Tensor, start: int, count: int) -> Tensor:
    """Frames `start` to `start + count` (N, C, count, H, W) of a clip that repeats itself.

    Each is the clip's own frame a whole number of beats (N,) before, the fewest that reach into it.
    """
    n_frames = clip.shape[2]
    flat = rearrange(clip, "n c t h w -> n t (c h w)")
    place = torch.arange(start, start + count)
    rows = []
    for frames, length in zip(flat, beat, strict=True):
        back = ((place - (n_frames - 1)).clamp_min(0) / length).ceil()
        rows.append(_at(frames[None], (place - back * length).clamp_min(0)))
    c, h, w = clip.shape[1], *clip.shape[3:]
    return rearrange(torch.cat(rows), "n t (c h w) -> n c t h w", c=c, h=h, w=w)
