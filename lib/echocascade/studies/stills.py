"""From one still image to clips: what ``echocascade sample`` and the explorer do.

A finished run needs its parameters and checkpoints for this, not its data set: that is used for
the usual place of the sector, and for patients to pick, where it is there.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from einops import repeat
from numpy.typing import NDArray
from torch import Tensor

from echocascade.cascade.extension import Request, extend, windows_for
from echocascade.cascade.scalars import Scalars
from echocascade.cascade.stage import Stage
from echocascade.cascade.synthesis import Cascade, Guidance
from echocascade.data.clips import ClipStore
from echocascade.data.frames import Frames
from echocascade.data.prepare import open_store
from echocascade.data.sector import ECHONET, Layout, measure_layout
from echocascade.data.still import Placed, place_still, read_still
from echocascade.data.store import StoreError
from echocascade.data.video import to_model, to_uint8
from echocascade.diffusion import Step
from echocascade.evaluation.calibration import AveragedReading
from echocascade.evaluation.judge import JudgeError, load_judge
from echocascade.evaluation.lvef import LVEFRegressor
from echocascade.evaluation.stick import StickReading, segment_lvef
from echocascade.params import Params, ParamsError, StageParams, load_params
from echocascade.rng import derive_seed
from echocascade.studies.guidance import chosen_scale
from echocascade.studies.protocol import Trained, for_regressor

Watch = Callable[[str, float, Tensor], None]
"""Told while clips are made: the stage, the share done in 0..1, and the videos (N, C, T, H, W) in
[-1, 1] that this stage expects now."""

LVEF_PERCENT = (5.0, 95.0)  # EchoNet-Dynamic has 7 to 97; beyond, a heart is asked that no one has
LONGEST_S = 20.0  # the longest clip of EchoNet-Dynamic
CLIPS_FOR_LAYOUT = 9


class AskError(ValueError):
    """A request that cannot be met; says what would be accepted."""


@dataclass(frozen=True)
class Ask:
    """One clip that is wanted: an LVEF in percent, and a number that its noise follows from."""

    lvef_percent: float
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """Clips of one anatomy, uint8 (N, T, H, W, C) at `fps`, and what both judges read in them.

    frame: the conditioning frame uint8 (H, W, C); lvef_measured (N,): by the regressor, NaN where
    the run has none; stick: by segmentation.
    """

    frame: Frames
    asks: tuple[Ask, ...]
    videos: Frames
    fps: float
    lvef_measured: NDArray[np.float64]
    stick: tuple[StickReading, ...]


@dataclass(frozen=True)
class StillGenerator:
    """A trained cascade ready for stills. `scale`: of guidance, as the run chose it."""

    params: Params
    cascade: Cascade
    regressor: LVEFRegressor | None
    scale: float
    store: ClipStore | None = None
    layout: Layout = ECHONET
    scalars: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def load(
        run: Path, data_dir: Path, scale: float | None = None, scalars: Mapping[str, float] = {}
    ) -> "StillGenerator":
        """The run in the folder `run`; scale: another one than the run's; scalars: the clinical
        parameters beside the LVEF, for a cascade that is told more.

        Raises:
            ValueError: a stage is not trained, or no guidance scale was chosen yet.
        """
        params = load_params(run / "params.yaml")
        cascade = Cascade.load(params, run / "checkpoints")
        try:
            regressor = load_judge(params, run / "checkpoints" / "regressor")
        except JudgeError:
            regressor = None
        try:
            store = open_store(params, data_dir)
        except StoreError:
            store = None
        chosen = _scale_of(params, run / "tables" / "guidance.csv") if scale is None else scale
        layout = ECHONET if store is None else _layout_of(store)
        return StillGenerator(params, cascade, regressor, chosen, store, layout, scalars)

    @staticmethod
    def of(trained: Trained, scale: float, row: int) -> "StillGenerator":
        """What a notebook has loaded; row: the clip whose other clinical parameters are kept."""
        columns = [c for c in Scalars.of(trained.params).columns if c not in ("EF", "ESV")]
        scalars = {c: float(trained.store.table[c].iloc[row]) for c in columns}
        return StillGenerator(
            trained.params, trained.cascade, trained.regressor, scale, trained.store,
            _layout_of(trained.store), scalars,
        )  # fmt: skip

    @property
    def last(self) -> StageParams:
        return self.params.cascade.stages[-1]

    def place(self, path: Path, frame: int = 0) -> Placed:
        """The picture in a file as a conditioning frame; StillError where it is none."""
        still = read_still(path, frame)
        return place_still(still, self.last.size, self.params.data.channels, self.layout)

    def make(
        self, frame: Frames, asks: Sequence[Ask], *, seconds: float | None = None,
        watch: Watch | None = None,
    ) -> Made:  # fmt: skip
        """One clip for each ask. frame: uint8 (H, W, C) of the last stage's size.

        The same frame, LVEF and seed give the same clip alone or among others. seconds: of a clip,
        for longer ones than the cascade's own. AskError: see `check`.
        """
        self.check(asks, seconds)
        size = self.params.evaluation.batch_size
        batches = [asks[i : i + size] for i in range(0, len(asks), size)]
        steps = None
        if watch is not None:
            windows = windows_for(self.params.cascade.stages[0], seconds or 0)
            steps = _Steps(watch, len(batches) * (1 + windows) * len(self.cascade.stages))
        shown = np.concatenate([self._sample(frame, part, seconds, steps) for part in batches])
        stick = tuple(segment_lvef(v, len(v) / self.last.fps) for v in shown)
        return Made(frame, tuple(asks), shown, self.last.fps, self._read(shown), stick)

    def _sample(
        self, frame: Frames, asks: Sequence[Ask], seconds: float | None, steps: "_Steps | None"
    ) -> Frames:
        request = Request(
            I_c=repeat(to_model(frame[None]), "c 1 h w -> n c h w", n=len(asks)),
            lambda_c=torch.cat([self._lambda_c(ask.lvef_percent) for ask in asks]),
            seeds=[derive_seed(self.params.seed, "still", ask.seed) for ask in asks],
            guidance=Guidance.of(self.params.cascade.guidance, self.scale),
        )
        videos = self.cascade.sample(
            request.I_c, request.lambda_c, request.seeds, guidance=request.guidance,
            batch_size=len(asks), watch=steps,
        )  # fmt: skip
        if seconds is not None and seconds > self.last.duration_s:
            videos = extend(self.cascade, videos, request, seconds, watch=steps)
        return to_uint8(videos[-1])

    def check(self, asks: Sequence[Ask], seconds: float | None = None) -> None:
        """AskError where an LVEF, a scalar or a length is not one that can be asked for."""
        low, high = LVEF_PERCENT
        for ask in asks:
            if not low <= ask.lvef_percent <= high:
                raise AskError(f"LVEF {ask.lvef_percent:g} %: {low:g} to {high:g} % are accepted")
            self._lambda_c(ask.lvef_percent)
        shortest = self.last.duration_s
        if not asks:
            raise AskError("no LVEF was asked for")
        if seconds is not None and not shortest <= seconds <= LONGEST_S:
            raise AskError(f"{seconds:g} s: {shortest:g} to {LONGEST_S:g} s are accepted")

    def weights_digest(self) -> str:
        """SHA-256 of the weights of every stage."""
        facts = hashlib.sha256()
        for stage in self.cascade.stages:
            for name, tensor in stage.denoiser.state_dict().items():
                facts.update(name.encode())
                facts.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return facts.hexdigest()

    def warning(self, asks: Sequence[Ask]) -> str:
        """What to know of LVEFs that the run was never measured at, empty where there are none."""
        low, high = self.params.evaluation.lvef_percent
        outside = sorted({a.lvef_percent for a in asks if not low <= a.lvef_percent <= high})
        if not outside:
            return ""
        named = ", ".join(f"{lvef:g}" for lvef in outside)
        return f"LVEF {named} %: this run was evaluated between {low:g} and {high:g} % only"

    def _lambda_c(self, lvef_percent: float) -> Tensor:
        try:
            return Scalars.of(self.params).of_values({**self.scalars, "EF": lvef_percent})
        except ValueError as error:
            raise AskError(str(error)) from None

    def _read(self, videos: Frames) -> NDArray[np.float64]:
        if self.regressor is None:
            return np.full(len(videos), np.nan)
        config, e = self.regressor.config, self.params.evaluation
        clips = (for_regressor(to_model(v[None]), self.last.fps, config)[0] for v in videos)
        return AveragedReading(self.regressor, e.views, e.batch_size)(clips)


class _Steps:
    """Counts the solver's runs, one a stage and batch or window, and passes on what they see."""

    def __init__(self, watch: Watch, runs: int) -> None:
        self._watch, self._runs, self._done = watch, runs, 0

    def __call__(self, stage: Stage, step: Step, expected: Tensor) -> None:
        part = min((step.index + 1) / stage.params.sampler.steps, 1.0)
        if step.sigma_next == 0:
            self._done, part = self._done + 1, 0.0
        self._watch(stage.name, min((self._done + part) / self._runs, 1.0), expected)


def _scale_of(params: Params, table: Path) -> float:
    """The guidance scale that the run chose on validation clips, or was given."""
    given = params.cascade.guidance.scale
    if given != "auto" and not table.is_file():
        return float(given)
    try:
        return chosen_scale(table)
    except ParamsError:
        raise AskError(
            "this run has not chosen its guidance scale yet: `echocascade guidance RUN` does, or "
            "give --guidance"
        ) from None


def _layout_of(store: ClipStore) -> Layout:
    """Where the fan lies in this run's training clips, by a few of them."""
    chosen = store.indices("TRAIN")[:CLIPS_FOR_LAYOUT]
    return measure_layout([np.asarray(store.frames(int(i))) for i in chosen])
