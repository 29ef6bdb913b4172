"""A trained toy cascade: six steps a stage on the pulsating rings, and an untrained regressor."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def tiny_trained(tiny_params, tiny_store, tmp_path_factory):
    """`Trained` on the rings: every path of sampling, judging and scoring, no useful numbers."""
    from echocascade.cascade.synthesis import Cascade
    from echocascade.cascade.training import train_stage
    from echocascade.evaluation.judge import regressor_config
    from echocascade.evaluation.lvef import LVEFRegressor
    from echocascade.studies.protocol import Trained

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("checkpoints")
    for index, stage in enumerate(tiny_params.cascade.stages):
        train_stage(tiny_params, index, tiny_store, folder / stage.name)
    torch.manual_seed(0)
    regressor = LVEFRegressor(regressor_config(tiny_params)).eval()
    return Trained(tiny_params, Cascade.load(tiny_params, folder), regressor, tiny_store)


@pytest.fixture
def no_stick(monkeypatch):
    """A segmentation that can read nothing, as on clips that show no cavity."""
    from echocascade.studies import measures

    def reads_nothing(videos, duration_s):
        return np.full(len(videos), np.nan)

    monkeypatch.setattr(measures, "read_stick", reads_nothing)


@pytest.fixture(scope="session")
def study_folder(study_run, tmp_path_factory):
    """A study of three readers; who writes answers copies it first (`fresh_study`)."""
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study, reader_names

    folder = tmp_path_factory.mktemp("studies") / "study"
    create_study(RunClips.load(*study_run), reader_names(3), folder)
    return folder


@pytest.fixture
def fresh_study(study_folder, tmp_path):
    """A copy of the study without answers."""
    import shutil

    from echocascade.studies.expert.folder import load_study

    return load_study(shutil.copytree(study_folder, tmp_path / "study"))


@pytest.fixture(scope="session")
def still_generator(tiny_trained):
    """The toy cascade as `sample` and the explorer use it, sectors where `drawn` has them."""
    from echocascade.data.sector import Layout
    from echocascade.studies.stills import StillGenerator

    return StillGenerator(
        tiny_trained.params, tiny_trained.cascade, tiny_trained.regressor, 2.0,
        tiny_trained.store, Layout(0.5, 0.06, 0.9),
    )  # fmt: skip
