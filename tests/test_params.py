"""Parameter files: one schema, errors that name the key."""

from pathlib import Path

import pytest

from echocascade.params import ParamsError, load_params

FILES = sorted((Path(__file__).resolve().parents[1] / "params").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_shipped_file_loads_and_survives_a_round_trip(path, tmp_path):
    params = load_params(path)
    (tmp_path / "dumped.yaml").write_text(params.dump_yaml())
    assert load_params(tmp_path / "dumped.yaml") == params


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sed=3", ["sed", "unknown key", "'seed'"]),
        ("cascade.stages.base.trainin.steps=3", ["trainin", "'training'"]),
        ("cascade.stages.bass.size=8", ["'bass'", "base, tssr"]),
        ("data.pad=blak", ["data.pad", "'blak'", "'mirror'"]),
        ("regressor.steps=-1", ["regressor.steps", "-1", "greater than or equal to 0"]),
        ("cascade.stages.base.size=27", ["27", "multiple of 4"]),
        ("cascade.stages.tssr.n_frames=48", ["tssr", "3 s", "base", "2 s"]),
        ("evaluation.split=VAL", ["guidance.scale is auto", "VAL"]),
        ("name=../evil", ["name", "'../evil'"]),
        ("seed", ["key=value"]),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(root, override, words):
    with pytest.raises(ParamsError) as error:
        load_params(root / "params" / "quick.yaml", [override])
    for word in words:
        assert word in str(error.value)


def test_all_mistakes_are_reported_at_once(root):
    with pytest.raises(ParamsError) as error:
        load_params(root / "params" / "quick.yaml", {"sed": 1, "data.channels": 2})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "base: missing.yaml"])
def test_a_file_that_is_no_params_file_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ParamsError):
        load_params(tmp_path / "x.yaml")


def test_a_file_that_is_based_on_itself_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("base: x.yaml")
    with pytest.raises(ParamsError, match="leads back"):
        load_params(tmp_path / "x.yaml")


def test_a_digest_changes_only_with_what_it_covers(root):
    path = root / "params" / "quick.yaml"
    plain = load_params(path)
    changed = load_params(path, ["cascade.stages.tssr.training.steps=7"])
    assert plain.digest("data", "cascade.stages.base") == changed.digest(
        "data", "cascade.stages.base"
    )
    assert plain.digest("cascade.stages.tssr") != changed.digest("cascade.stages.tssr")


def test_roles_follow_from_the_neighbour(root):
    params = load_params(root / "params" / "quick.yaml")
    assert [params.cascade.role(i) for i in range(2)] == ["base", "TSSR"]
    tsr = load_params(root / "params" / "quick.yaml", ["cascade.stages.base.size=56"])
    assert tsr.cascade.role(1) == "TSR"
    ssr = load_params(
        root / "params" / "quick.yaml",
        ["cascade.stages.base.n_frames=32", "cascade.stages.base.fps=16"],
    )
    assert ssr.cascade.role(1) == "SSR"
