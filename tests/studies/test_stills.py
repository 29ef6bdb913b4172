"""One still, several LVEFs and seeds: what is made, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from drawn import fan
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.studies.stills import Ask, AskError, StillGenerator


@pytest.fixture(scope="module")
def frame(still_generator, tmp_path_factory) -> np.ndarray:
    path = tmp_path_factory.mktemp("stills") / "still.png"
    Image.fromarray(fan(128)[0]).save(path)
    return still_generator.place(path).frame


def test_every_ask_gets_a_clip_and_both_readings(still_generator, frame):
    asks = [Ask(30, 0), Ask(60, 0), Ask(30, 1)]
    made = still_generator.make(frame, asks)
    assert frame.shape == (16, 16, 1)
    assert made.videos.shape == (3, 8, 16, 16, 1) and made.videos.dtype == np.uint8
    assert made.asks == tuple(asks) and made.fps == 4
    assert np.isfinite(made.lvef_measured).all() and len(made.stick) == 3


def test_an_ask_gives_the_same_clip_alone_and_in_any_batch(still_generator, frame):
    """Five asks are two batches of four and one; float32 sums may differ by a grey level."""
    asks = [Ask(lvef, seed) for lvef in (30, 70) for seed in (0, 1)] + [Ask(50, 2)]
    together = still_generator.make(frame, asks).videos
    for ask, clip in zip(asks, together, strict=True):
        alone = still_generator.make(frame, [ask]).videos[0]
        assert np.abs(alone.astype(int) - clip).max() <= 1


def test_seeds_and_lvefs_change_the_clip(still_generator, frame):
    one, other_seed, other_lvef = still_generator.make(frame, [Ask(30), Ask(30, 1), Ask(80)]).videos
    assert (one != other_seed).any() and (one != other_lvef).any()


def test_six_seconds_begin_with_the_two(still_generator, frame):
    short = still_generator.make(frame, [Ask(50)]).videos
    longer = still_generator.make(frame, [Ask(50)], seconds=6.0)
    assert longer.videos.shape == (1, 24, 16, 16, 1)
    assert (longer.videos[:, :6] == short[:, :6]).all()
    assert len(longer.stick[0].area) == 24


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_progress_rises_to_the_end_and_shows_what_is_expected(still_generator, frame, seconds):
    seen = []
    still_generator.make(
        frame, [Ask(30), Ask(60)], seconds=seconds,
        watch=lambda stage, share, expected: seen.append((stage, share, tuple(expected.shape))),
    )  # fmt: skip
    shares = [share for _, share, _ in seen]
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1
    assert {(stage, shape) for stage, _, shape in seen} == {
        ("base", (2, 1, 4, 8, 8)),
        ("tssr", (2, 1, 8, 16, 16)),
    }


@pytest.mark.parametrize(
    ("asks", "seconds", "word"),
    [
        ([Ask(120)], None, r"LVEF 120 %: 5 to 95 % are accepted"),
        ([Ask(50), Ask(-3)], None, r"LVEF -3 %: 5 to 95 % are accepted"),
        ([Ask(float("nan"))], None, r"LVEF nan %: 5 to 95 % are accepted"),
        ([], None, "no LVEF was asked for"),
        ([Ask(50)], 1.0, r"1 s: 2 to 20 s are accepted"),
        ([Ask(50)], 60.0, r"60 s: 2 to 20 s are accepted"),
    ],
)
def test_what_cannot_be_made_is_refused_with_what_could(still_generator, asks, seconds, word):
    with pytest.raises(AskError, match=word):
        still_generator.check(asks, seconds)


def test_lvefs_that_were_never_evaluated_are_named(still_generator):
    assert still_generator.warning([Ask(50), Ask(15)]) == ""
    said = still_generator.warning([Ask(90), Ask(8), Ask(50)])
    assert said == "LVEF 8, 90 %: this run was evaluated between 15 and 85 % only"


def test_a_cascade_that_is_told_more_asks_for_it(still_generator, frame):
    from dataclasses import replace

    from echocascade.params import Params

    tree = still_generator.params.model_dump()
    tree["conditioning"]["scalars"] = ["EF", "EDV"]
    params = Params.model_validate(tree)
    more = replace(still_generator, params=params)
    with pytest.raises(AskError, match="EDV is missing"):
        more.check([Ask(50)])
    replace(more, scalars={"EDV": 120.0}).check([Ask(50)])
    with pytest.raises(AskError, match=r"EDV is 5000; allowed are 0 to 700"):
        replace(more, scalars={"EDV": 5000.0}).check([Ask(50)])


def test_a_notebook_uses_what_it_has_loaded(tiny_trained):
    """The same clip as the protocol's for the same frame, request and noise."""
    from echocascade.rng import derive_seed

    made_by = StillGenerator.of(tiny_trained, 2.0, row=3)
    frame = np.asarray(tiny_trained.store.frames(3)[0])
    seed = derive_seed(tiny_trained.params.seed, "still", 5)
    expected = tiny_trained.generate(frame[None], np.array([40.0]), [seed], 2.0)[-1]
    made = made_by.make(frame, [Ask(40, 5)])
    assert np.abs(made.videos.astype(int) - expected).max() <= 1
    assert made.lvef_measured[0] == pytest.approx(tiny_trained.read_lvef(made.videos)[0])


def test_a_run_needs_trained_stages_and_a_scale(tiny_params, tmp_path):
    (tmp_path / "params.yaml").write_text(tiny_params.dump_yaml())
    with pytest.raises(CheckpointError, match="stage base is not trained"):
        StillGenerator.load(tmp_path, tmp_path)
