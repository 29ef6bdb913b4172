"""Comparing samplers: what is compared, what it costs, and which one is chosen."""

import numpy as np
import pandas as pd

from echocascade.studies.pareto import DISTILLED, cheapest, mark_as_good, pareto_table, settings


def table(rows):
    names = ["kind", "evaluations", "MAE", "MAE_high"]
    return mark_as_good(pd.DataFrame(rows, columns=names))


def test_the_cheapest_sampler_lies_within_the_papers_interval_and_is_not_distilled():
    found = cheapest(
        table([("paper", 254, 7.0, 8.0), ("a", 40, 7.9, 9.0), ("b", 20, 8.1, 9.0),
               (DISTILLED, 4, 7.5, 8.5)])
    )  # fmt: skip
    assert found["kind"] == "a"


def test_where_nothing_cheaper_is_as_good_the_papers_sampler_is_chosen():
    assert cheapest(table([("paper", 254, 7.0, 8.0), ("a", 40, 8.5, 9.0)]))["kind"] == "paper"


def test_evaluations_count_guidance_twice_and_only_in_the_first_stage(tiny_trained):
    found = {s.label: s for s in settings(tiny_trained, 2.0)}
    pareto = tiny_trained.params.sampling.pareto
    dpmpp = found[f"{pareto.dpmpp_2m_steps[0]} steps"]
    n_stages = len(tiny_trained.cascade.stages)
    assert dpmpp.evaluations == pareto.dpmpp_2m_steps[0] * (2 + n_stages - 1)
    unguided = {s.label: s for s in settings(tiny_trained, 1.0)}[dpmpp.label]
    assert unguided.evaluations == pareto.dpmpp_2m_steps[0] * n_stages


def test_every_setting_gets_the_same_clips_and_a_row(tiny_trained):
    found = pareto_table(tiny_trained, 1.5)
    assert len(found) == len(list(settings(tiny_trained, 1.5)))
    assert found["n_clips"].nunique() == 1
    assert (found["seconds_per_clip"] > 0).all()
    scores = found[["MAE", "frechet", "flicker"]].to_numpy()
    assert np.isfinite(scores).all()
    own = found[found["kind"] == "this run's sampler"]
    first, *later = (stage.evaluations() for stage in tiny_trained.cascade.stages)
    assert own["evaluations"].item() == 2 * first + sum(later)
