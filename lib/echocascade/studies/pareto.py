"""Quality against time: which sampler is worth its network evaluations (on VAL clips)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.cascade.distillation import distil_stage, distilled_sampler
from echocascade.cascade.synthesis import Cascade, LoadedStage
from echocascade.data.video import to_model
from echocascade.diffusion import network_evaluations
from echocascade.evaluation.echo_distance import flicker, frechet_distance, regressor_features
from echocascade.evaluation.metrics import bootstrap_interval
from echocascade.params import GuidanceParams, SamplerParams
from echocascade.rng import derive_seed
from echocascade.studies.guidance import agreement_of_read
from echocascade.studies.protocol import (
    Progress,
    Trained,
    for_regressor,
    requested_lvef,
    task_clips,
)

DISTILLED = "distilled"
OWN = "this run's sampler"
LATER_STEPS = 2  # of a later stage behind a distilled first one: DPM-Solver++(2M)


@dataclass(frozen=True)
class Setting:
    """One way to sample the whole cascade; kind groups the settings of one solver."""

    kind: str
    label: str
    cascade: Cascade
    scale: float
    guidance: GuidanceParams

    @property
    def evaluations(self) -> int:
        """Of the network for one clip, all stages; guided ones count twice, all sigmas guided."""
        total = 0
        for i, stage in enumerate(self.cascade.stages):
            guided = self.scale != 1 and (i == 0 or self.guidance.apply_to == "all")
            sampler = stage.stage.params.sampler
            total += network_evaluations(sampler.method, sampler.steps) * (2 if guided else 1)
        return total


def with_samplers(cascade: Cascade, samplers: Sequence[SamplerParams]) -> Cascade:
    """The same networks under other samplers, one a stage."""
    stages = [
        LoadedStage(replace(s.stage, params=s.stage.params.model_copy(update={"sampler": sampler})),
                    s.denoiser)
        for s, sampler in zip(cascade.stages, samplers, strict=True)
    ]  # fmt: skip
    return Cascade(cascade.params, stages)


def settings(
    trained: Trained, scale: float, distilled: LoadedStage | None = None
) -> Iterator[Setting]:
    """The paper's sampler first, then cheaper ones, this run's own, and the distilled stage."""
    params = trained.params
    pareto, guidance = params.sampling.pareto, params.cascade.guidance
    own = [stage.stage.params.sampler for stage in trained.cascade.stages]

    def of(kind: str, label: str, changed: Mapping[str, object]) -> Setting:
        samplers = [sampler.model_copy(update=changed) for sampler in own]
        return Setting(kind, label, with_samplers(trained.cascade, samplers), scale, guidance)

    steps, churn = pareto.paper_steps, pareto.paper_churn
    paper = {"method": "heun", "steps": steps, "S_churn": churn}
    yield of("Heun with churn", f"{steps} steps, the paper's", paper)
    steps = pareto.heun_steps
    yield of("Heun", f"{steps} steps", {"method": "heun", "steps": steps, "S_churn": 0.0})
    for steps in pareto.dpmpp_2m_steps:
        plain = {"method": "dpmpp_2m", "steps": steps, "S_churn": 0.0}
        yield of("DPM-Solver++(2M)", f"{steps} steps", plain)
    yield of(OWN, " + ".join(f"{s.method} {s.steps}" for s in own), {})
    low, high = pareto.sigma_interval
    within = guidance.model_copy(update={"sigma_interval": pareto.sigma_interval})
    label = f"{low:g} < sigma <= {high:g}"
    yield Setting("guidance in an interval", label, trained.cascade, scale, within)
    if distilled is not None:
        for evaluations in (1, 2):
            samplers = [distilled_sampler(params, evaluations)]
            later = {"method": "dpmpp_2m", "steps": LATER_STEPS, "S_churn": 0.0}
            samplers += [sampler.model_copy(update=later) for sampler in own[1:]]
            stages = Cascade(params, [distilled, *trained.cascade.stages[1:]])
            label = f"{evaluations} + {LATER_STEPS} evaluations"
            yield Setting(DISTILLED, label, with_samplers(stages, samplers), 1.0, guidance)


def pareto_table(
    trained: Trained, scale: float, distilled: LoadedStage | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a setting: single draw a clip, the same clips, requests and noises for all.

    Columns: kind, label, evaluations, seconds_per_clip, n_clips, MAE and its interval MAE_low,
    MAE_high (points, bootstrap over clips at evaluation.level), R2, slope, frechet (in the LVEF
    regressor's features, against as many real VAL clips), flicker (over that of the real clips),
    as_good (see `mark_as_good`).
    """
    params = trained.params
    clips = task_clips(trained, "VAL", params.sampling.pareto.clips, draws=1)
    requested = requested_lvef(params, clips, "generation", "VAL")
    seeds = [derive_seed(params.seed, f"pareto {name}") for name in clips.file_name]
    real_features = _features(trained, clips.video)
    real_flicker = flicker(to_model(clips.video)).mean()
    rows, wanted = [], list(settings(trained, scale, distilled))
    for i, setting in enumerate(wanted):
        guided = params.cascade.model_copy(update={"guidance": setting.guidance})
        own = replace(trained, cascade=setting.cascade, params=params.model_copy(
            update={"cascade": guided}))  # fmt: skip
        start = time.perf_counter()
        videos = own.generate(clips.frames[:, 0], requested, seeds, setting.scale, clips.index)[-1]
        seconds = (time.perf_counter() - start) / len(requested)
        measured = trained.read_lvef(videos)
        scores = agreement_of_read(requested, measured)
        mae = bootstrap_interval(
            requested, measured, level=params.evaluation.level, seed=params.seed
        )["MAE"]
        rows.append(
            {
                "kind": setting.kind, "label": setting.label, "evaluations": setting.evaluations,
                "seconds_per_clip": seconds, "n_clips": len(requested), "MAE": scores["MAE"],
                "MAE_low": mae.low, "MAE_high": mae.high, "R2": scores["R2"],
                "slope": scores["slope"],
                "frechet": frechet_distance(_features(trained, videos), real_features),
                "flicker": flicker(to_model(videos)).mean() / real_flicker,
            }
        )  # fmt: skip
        if progress is not None:
            progress(i + 1, len(wanted), setting.kind)
    return mark_as_good(pd.DataFrame(rows))


def distil(
    trained: Trained, scale: float, directory: Path, progress: Progress | None = None
) -> LoadedStage | None:
    """The distilled first stage, made in `directory` or found there; None where none is asked for.

    Raises: as `cascade.distillation.distil_stage`.
    """
    if not trained.params.sampling.distillation.steps:
        return None
    teacher = trained.cascade.stages[0]
    return distil_stage(trained.params, teacher, trained.store, directory, scale, progress)


def numbers(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What is recorded of a `pareto_table`: the paper's sampler, this run's, the cheapest, ours."""
    own = table[table["kind"] == OWN].iloc[0]
    rows = {"paper": table.iloc[0], "own": own, "cheapest": cheapest(table)}
    distilled = table[table["kind"] == DISTILLED]
    rows |= {f"distilled_{i}": row for i, (_, row) in enumerate(distilled.iterrows(), start=1)}
    kept = ("evaluations", "seconds_per_clip", "MAE", "R2", "frechet", "flicker")
    return {name: {key: float(row[key]) for key in kept} for name, row in rows.items()}


def mark_as_good(table: pd.DataFrame) -> pd.DataFrame:
    """With a column as_good: MAE at or below the upper end of the paper's sampler's interval.

    The paper's sampler is the first row. Of the rows that are as good, the one with the fewest
    evaluations is the sampler to choose (`cheapest`).
    """
    return table.assign(as_good=table["MAE"] <= table["MAE_high"].iloc[0])


def cheapest(table: pd.DataFrame) -> pd.Series:
    """The undistilled row that is as good as the paper's sampler at the fewest evaluations."""
    good = table[table["as_good"] & (table["kind"] != DISTILLED)]
    return good.sort_values("evaluations", kind="stable").iloc[0]


def _features(trained: Trained, videos: np.ndarray) -> np.ndarray:
    config = trained.regressor.config
    clips = (for_regressor(to_model(v[None]), trained.last.fps, config)[0] for v in videos)
    return regressor_features(trained.regressor, clips, trained.params.evaluation.batch_size)
