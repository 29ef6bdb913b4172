"""Does rebalancing help? Regressors on real, rebalanced and resampled sets, one balanced test.

What the comparison cannot undo: the cascade has seen all TRAIN clips, and so has the regressor
that re-estimates labels. A small set with generated clips is therefore richer than its number of
real clips says, here as in the paper; only "all real + generated" adds nothing but pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from echocascade.data.clips import ClipStore
from echocascade.data.shrinking import shrunk_store
from echocascade.evaluation.lvef import RegressorConfig
from echocascade.params import ExperimentParams, Params
from echocascade.rng import derive_seed
from echocascade.studies.rebalancing.analysis import Answers
from echocascade.studies.rebalancing.folder import GeneratedFolder
from echocascade.studies.rebalancing.generate import Chunk
from echocascade.studies.rebalancing.held_out import HeldOut, balanced_set
from echocascade.studies.rebalancing.labels import LABELS, label_of
from echocascade.studies.rebalancing.plan import Bins, bins_of_targets
from echocascade.studies.rebalancing.sets import (
    Arm,
    Pool,
    TrainingSet,
    arms_of,
    build_set,
    left_out,
)
from echocascade.studies.rebalancing.trainings import Sources, Training, train_all

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Experiment:
    """Everything that is trained, and on what: made by `plan_experiment`, run by `run_experiment`.

    left_out: what the full table would have besides, and why it has not.
    """

    params: Params
    sources: Sources
    pool: Pool
    held_out: HeldOut
    arms: list[Arm]
    left_out: list[str]

    @property
    def wanted(self) -> ExperimentParams:
        return self.params.rebalancing.experiment

    def training_set(self, arm: Arm, repetition: int) -> TrainingSet:
        """The clips of an arm in one repetition."""
        seed = derive_seed(self.params.seed, "rebalancing repetition", repetition)
        return build_set(arm, self.pool, self.wanted, seed)

    def training(self, arm: Arm, repetition: int) -> Training:
        """One regressor: its clips, its size, its seed; repetitions of all arms begin alike."""
        data = self.training_set(arm, repetition)
        wanted = self.params.downstream
        # slower rates are for judging generated clips; these regressors are asked about real ones
        values = wanted.model_dump(exclude={"weights", "frame_rates"})
        config = RegressorConfig(channels=self.params.data.channels, **values)
        config = replace(config, mean_lvef_percent=float(data.lvef_percent.mean()))
        seed = derive_seed(self.params.seed, "rebalancing training", repetition)
        folder = Path(self.params.weights_dir).expanduser()
        weights = folder / wanted.weights if wanted.weights else None
        return Training(config, data, seed, weights, self.wanted.keep_weights)


def plan_experiment(
    params: Params, store: ClipStore, generated: GeneratedFolder, folder: Path
) -> Experiment:
    """Read the generated clips as any data set is read, and set up all trainings.

    Args:
        store: the run's clips; generated: a finished folder; folder: for stores of both at the
            regressor's size, made once.
    """
    config, wanted = params.downstream, params.rebalancing.experiment
    real = shrunk_store(store, folder / "real", config.size, config.fps)
    provenance = generated.provenance()
    kept = provenance[provenance["kept"]].set_index("FileName")
    made = None
    if len(kept):
        whole = ClipStore.build(
            generated.root, folder / "generated-whole", size=store.size, fps=store.fps,
            channels=store.channels, pad=store.pad, workers=1,
        )  # fmt: skip
        made = shrunk_store(whole, folder / "generated", config.size, config.fps)
    names = [] if made is None else made.table["FileName"].tolist()
    train = store.indices("TRAIN")
    plan = params.rebalancing.plan
    pool = Pool(
        train, store.table["EF"].to_numpy(np.float64)[train], np.arange(len(names)),
        {kind: label_of(kept.loc[names], kind).to_numpy(np.float64) for kind in LABELS},
        bins_of_targets(generated.targets, plan),
    )  # fmt: skip
    held_out = balanced_set(store, wanted, plan.low, plan.high, params.seed)
    kind = params.rebalancing.generation.labels
    return Experiment(
        params, Sources(real, made, held_out.rows), pool, held_out, arms_of(wanted, kind, pool),
        left_out(wanted, pool),
    )  # fmt: skip


def run_experiment(
    experiment: Experiment, folder: Path, progress: Progress | None = None,
    chunk: Chunk | None = None,
) -> list[Answers]:  # fmt: skip
    """Train what `folder` does not have; the answers of all arms.

    chunk: one part of the trainings, for several processes or nodes that share `folder`; the
    answers are then empty unless this part was the last.
    """
    repetitions = range(experiment.wanted.seeds)
    pairs = [(arm, r) for r in repetitions for arm in experiment.arms]
    if chunk is not None:
        pairs = [pair for i, pair in enumerate(pairs) if chunk.has(i)]
    trainings = [experiment.training(arm, r) for arm, r in pairs]
    workers = experiment.params.workers
    answers = train_all(trainings, experiment.sources, folder, progress, workers)
    if chunk is not None:
        left = n_missing(experiment, folder)
        return [] if left else run_experiment(experiment, folder)
    n = len(experiment.arms)
    return [Answers(arm, np.stack(answers[i::n])) for i, arm in enumerate(experiment.arms)]


def n_missing(experiment: Experiment, folder: Path) -> int:
    """How many trainings `folder` does not have."""
    digests = [
        experiment.training(arm, r).digest(experiment.sources)
        for r in range(experiment.wanted.seeds)
        for arm in experiment.arms
    ]
    return sum(not (folder / f"{digest}.json").is_file() for digest in digests)


def set_table(experiment: Experiment) -> pd.DataFrame:
    """What the first repetition trains on: size, arm, real, generated, and LVEF's spread.

    `evenness`: entropy of the LVEF histogram (bands of the held-out set) over that of an even one.
    """
    bands = experiment.held_out.bands
    edges = Bins(bands["low"].to_numpy(), bands["high"].to_numpy())
    rows = []
    for arm in experiment.arms:
        data = experiment.training_set(arm, 0)
        share = edges.count(data.lvef_percent) / max(1, len(data))
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        rows.append(
            {
                "size": len(data), "arm": arm.label, "real": len(data.real),
                "generated": len(data.generated), "below 30 %": int((data.lvef_percent < 30).sum()),
                "evenness": float(entropy / np.log(len(edges))) if len(edges) > 1 else np.nan,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
