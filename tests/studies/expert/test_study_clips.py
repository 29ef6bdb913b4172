"""A study's folder: the key apart, and nothing but the picture to tell real from generated."""

import json
import shutil

import av
import numpy as np
import pandas as pd
import pytest

from echocascade.params import StudyParams
from echocascade.studies.expert.blinding import blinding_table, file_facts
from echocascade.studies.expert.clips import RunClips, encode_clip, equal_sizes, through_jpeg
from echocascade.studies.expert.create import create_study, reader_names
from echocascade.studies.expert.design import Shown
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.expert.folder import load_key, load_links, load_study


def facts(path) -> tuple:
    """Everything that a player can tell of a file but its pictures."""
    with av.open(str(path)) as container:
        (stream,) = container.streams
        frames = list(container.decode(stream))
        context = stream.codec_context
        return (
            container.format.name, tuple(sorted(container.metadata.items())), container.duration,
            context.name, context.profile, context.pix_fmt, context.width, context.height,
            float(stream.average_rate), stream.duration, stream.time_base,
            tuple(sorted(stream.metadata.items())), len(frames), frames[0].color_range,
            tuple(frame.pts for frame in frames), path.stat().st_size,
        )  # fmt: skip


def inner_bytes(path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux())


def test_no_file_differs_from_another_in_anything_but_its_pictures(study_folder):
    clips = sorted((study_folder / "clips").glob("*.mp4"))
    assert len(clips) == 22
    assert len({facts(path) for path in clips}) == 1


def test_padding_hides_a_difference_that_was_there(study_folder):
    """Real rings are noisy: without equal sizes one threshold on bytes would tell all apart."""
    key = load_key(study_folder).clips
    sizes = [inner_bytes(study_folder / "clips" / f"{name}.mp4") for name in key["file"]]
    real = (key["kind"] == "real").to_numpy()
    assert min(np.array(sizes)[real]) > max(np.array(sizes)[~real])


def test_the_blinding_table_shows_what_would_have_told(study_folder):
    """Every fact that a browser sees is worth a coin; the bytes of the picture alone are not."""
    table = blinding_table(file_facts(load_study(study_folder))).set_index("fact")
    tells = table["tells (0.5: nothing)"]
    assert (tells.drop("picture bytes") == 0.5).all()
    assert tells["picture bytes"] == 1.0
    assert table.loc["seconds", "value"] == "2.0" and table.loc["codec", "value"] == "h264"


def test_a_padded_file_plays_as_before(study_run, tmp_path):
    source = RunClips.load(*study_run)
    clip = encode_clip(source.frames(Shown("ring00", "real")), 4, 64)
    for name, content in equal_sizes({"short": clip, "long": clip + bytes(9000)}).items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
    (tmp_path / "plain.mp4").write_bytes(clip)
    pictures = [
        [f.to_ndarray() for f in av.open(str(tmp_path / f"{name}.mp4")).decode(video=0)]
        for name in ("plain", "short")
    ]
    np.testing.assert_array_equal(*pictures)


def test_generated_frames_get_the_traces_of_the_jpeg_that_real_ones_have(study_run):
    source = RunClips.load(*study_run)
    frames = source.frames(Shown("ring00", "factual"))
    once = through_jpeg(frames, 4)
    assert once.shape == frames.shape and not np.array_equal(once, frames)
    assert np.abs(once.astype(int) - frames).mean() < 5


def test_real_and_generated_clips_have_one_size_and_rate(study_run):
    source = RunClips.load(*study_run)
    shown = [Shown("ring03", kind) for kind in ("real", "factual", "counterfactual")]
    assert {source.frames(clip).shape for clip in shown} == {(8, 16, 16, 1)}


def test_names_say_nothing_and_follow_from_nothing(study_run, study_folder, tmp_path):
    create_study(RunClips.load(*study_run), reader_names(3), tmp_path / "again")
    names = [
        {path.stem for path in (folder / "clips").iterdir()}
        for folder in (study_folder, tmp_path / "again")
    ]
    assert not names[0] & names[1]
    trials = [load_key(folder).trials for folder in (study_folder, tmp_path / "again")]
    same = ["reader", "position", "role", "truth", "kind"]
    pd.testing.assert_frame_equal(trials[0][same], trials[1][same])


def test_the_key_is_apart_and_the_room_has_no_truth(study_folder):
    text = (study_folder / "study.json").read_text()
    words = ["real", "factual", "generated", "ring0", "lvef", "repeat", "main"]
    assert [word for word in words if f'"{word}' in text] == []
    assert (study_folder / "key").stat().st_mode & 0o077 == 0
    assert (study_folder / "links.json").stat().st_mode & 0o077 == 0
    tokens = [link.token for link in load_links(study_folder).values()]
    assert len(set(tokens)) == 3 and min(map(len, tokens)) >= 43
    assert not any(token in text for token in tokens)


def test_hidden_repeats_have_a_name_of_their_own(study_folder):
    study = load_study(study_folder)
    ids = [trial.id for reader in study.readers.values() for trial in reader.trials]
    assert len(set(ids)) == len(ids)
    for reader in study.readers.values():
        assert len({trial.files for trial in reader.trials}) == len(reader.trials) - 2


def test_the_key_leads_back_to_the_sample(study_run, study_folder):
    source = RunClips.load(*study_run)
    key = load_key(study_folder).clips
    generated = key[key["kind"] != "real"].iloc[0]
    stored = np.load(source.samples / generated["chunk"])["last"][int(generated["row"])]
    shown = Shown(generated["FileName"], generated["kind"], int(generated["draw"]))
    np.testing.assert_array_equal(source.frames(shown), stored)


def test_a_study_is_whole_or_not_there(study_run, tmp_path, monkeypatch):
    source = RunClips.load(*study_run)
    calls = []

    def breaks(*args):
        calls.append(1)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        return encode_clip(*args)

    monkeypatch.setattr("echocascade.studies.expert.create.encode_clip", breaks)
    with pytest.raises(OSError, match="No space"):
        create_study(source, reader_names(2), tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_never_written_over(study_run, study_folder):
    with pytest.raises(StudyError, match="never changed"):
        create_study(RunClips.load(*study_run), reader_names(3), study_folder)


def test_changes_that_would_make_it_another_run_are_refused(study_run):
    with pytest.raises(StudyError, match=r"seed=3: only study\.KEY"):
        RunClips.load(*study_run, ["seed=3"])


def test_a_run_that_has_generated_nothing_is_told_what_to_do(study_run, tmp_path):
    shutil.copyfile(study_run[0] / "params.yaml", tmp_path / "params.yaml")
    with pytest.raises(StudyError, match="notebook 07"):
        RunClips.load(tmp_path, study_run[1])


@pytest.mark.parametrize(
    "name", ["../../key/clips", "/etc/passwd", "a" * 23, "A" * 24, "0" * 24 + "\n", 7, None]
)
def test_a_name_that_could_leave_the_folder_is_no_study(fresh_study, name):
    file = fresh_study.directory / "study.json"
    content = json.loads(file.read_text())
    content["readers"]["reader-1"]["trials"][0]["files"] = [name]
    file.write_text(json.dumps(content))
    with pytest.raises(StudyError, match="not a study"):
        load_study(fresh_study.directory)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "settings": {}}'])
def test_what_is_no_study_is_said_in_one_line(fresh_study, text):
    (fresh_study.directory / "study.json").write_text(text)
    with pytest.raises(StudyError) as error:
        load_study(fresh_study.directory)
    assert "\n" not in str(error.value)


def test_shares_without_real_or_without_generated_clips_are_refused():
    for shares in ((0, 0.5, 0.5), (1, 0, 0), (0.5, 0.5, 0.5)):
        with pytest.raises(ValueError, match="shares"):
            StudyParams(shares=shares)
