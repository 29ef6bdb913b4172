"""The authors' released weights: imagen-pytorch's network answers here as it does at home."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from echocascade.cascade import imagen
from echocascade.cascade.checkpoint import CheckpointError
from echocascade.cascade.conditioning import Conditioning
from echocascade.cascade.imagen_import import import_weights, read_config
from echocascade.cascade.imagen_stage import in_range, noised
from echocascade.cascade.synthesis import Cascade, Guidance
from echocascade.cascade.training import train_stage
from echocascade.commands.importing import import_run, params_of
from echocascade.diffusion.preconditioning import noise_level
from echocascade.params.imported import ImportedNetwork

HERE = Path(__file__).parent
SIGMAS = (0.002, 0.1, 0.7, 5.0, 80.0)  # of imagen_reference.py

AUTHORS = {
    "unets": {
        f"unet{i}": {
            "dim": 64, "num_resnet_blocks": 2, "dim_mults": [1, 2, 4], "max_text_len": 1,
            "layer_attns": False, "layer_cross_attns": [False, False, True],
            "cond_images_channels": 3,
        }
        for i in range(1, 5)
    },
    "imagen": {
        "condition_on_text": True, "image_sizes": [56, 56, 56, 112], "text_embed_dim": 1,
        "num_sample_steps": [32, 32, 32, 64], "random_crop_sizes": [None, None, None, 56],
        "temporal_downsample_factor": [4, 2, 1, 1], "sigma_data": 0.25,
        "S_churn": [40, 80, 160, 160],
    },
    "dataset": {"fps": 32, "duration": 2.0},
    "checkpoint": {"cond_scale": 5.0},
}  # fmt: skip


def config_file(folder, **changes):
    path = folder / "config.yaml"
    tree = {**AUTHORS, **{k: {**AUTHORS[k], **v} for k, v in changes.items()}}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def test_the_authors_configuration_becomes_the_stages_of_a_run(tmp_path):
    params = params_of(read_config(config_file(tmp_path)), "theirs", "params/2scm.yaml", [])
    stages = params.cascade.stages
    assert [s.name for s in stages] == ["base", "tsr1", "tsr2", "ssr"]
    assert [(s.size, s.n_frames, s.fps) for s in stages] == [
        (56, 16, 8), (56, 32, 16), (56, 64, 32), (112, 64, 32),
    ]  # fmt: skip
    assert [s.sampler.S_churn for s in stages] == [40, 80, 160, 160]
    assert [s.sampler.steps for s in stages] == [32, 32, 32, 64]
    assert stages[3].training.crop == 56 and stages[0].sigma_data == 0.25
    assert (params.cascade.guidance.scale, params.cascade.guidance.apply_to) == (5.0, "all")
    assert params.data.channels == 3
    assert stages[0].imported.licence == "GPL-2.0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"imagen": {"condition_on_text": False}}, "condition_on_text"),
        ({"imagen": {"text_embed_dim": 768}}, "text_embed_dim is 768"),
        ({"imagen": {"image_sizes": [56, 112]}}, "image_sizes has 2 entries for 4 unets"),
        ({"dataset": {"fps": None}}, "dataset.fps"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(tmp_path, changes, words):
    with pytest.raises(CheckpointError, match=words):
        read_config(config_file(tmp_path, **changes))


def test_what_is_no_configuration_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("just words", encoding="utf-8")
    with pytest.raises(CheckpointError, match="expected keys and values"):
        read_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("imagen: {condition_on_text: true}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="section `unets` is missing"):
        read_config(tmp_path / "b.yaml")


class Unwelcome:
    def __reduce__(self):
        return (print, ("this code came out of a weights file",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"not a zip file", "cannot be read as weights"),
        ({"model": Unwelcome()}, "cannot be read as weights"),
        ({"weights": {}}, "no `model` in it"),
    ],
    ids=["missing", "git-lfs pointer", "text", "code inside", "another format"],
)
def test_weights_that_cannot_be_read_are_named_and_run_no_code(tmp_path, capsys, content, words):
    path = tmp_path / "merged.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    params = params_of(read_config(config_file(tmp_path)), "theirs", "params/2scm.yaml", [])
    with pytest.raises(CheckpointError, match=words):
        import_weights(path, params, tmp_path / "checkpoints")
    assert capsys.readouterr().out == ""


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(imagen.sys, "path", [])
    monkeypatch.setattr(imagen.sys, "prefix", str(tmp_path / "env"))
    monkeypatch.chdir(tmp_path)
    assert not imagen.is_installed()
    imagen.unet3d.cache_clear()
    try:
        with pytest.raises(CheckpointError, match=r"imagen-pytorch 1\.21\.6.*`make peer`"):
            imagen.unet3d()
    finally:
        imagen.unet3d.cache_clear()


def test_noised_keeps_unit_variance_and_follows_the_linear_schedule():
    g = torch.Generator().manual_seed(0)
    x, n = torch.randn(2, 100_000, generator=g)
    assert noised(x, 0.2, n).std().item() == pytest.approx(1, abs=0.01)
    # log-snr at t = 0.2: -ln(e^(1e-4 + 0.4) - 1) = 0.7093, so alpha = sqrt(sigmoid) = 0.8187
    assert noised(torch.ones(1), 0.2, torch.zeros(1)).item() == pytest.approx(0.8187, abs=1e-4)


def test_videos_are_brought_into_range_by_their_own_percentile():
    unet = ImportedNetwork(unet={})
    quiet = torch.linspace(-0.9, 0.9, 101)[None]
    assert torch.equal(in_range(quiet, unet), quiet)
    loud = 4 * quiet
    limited = in_range(loud, unet)
    s = torch.quantile(loud.abs(), 0.95)
    torch.testing.assert_close(limited, loud.clamp(-s, s) / s)
    clipped = in_range(loud, unet.model_copy(update={"dynamic_thresholding": False}))
    assert torch.equal(clipped, loud.clamp(-1, 1))


@pytest.fixture(scope="module")
def reference(root, tmp_path_factory):
    """Folder with config.yaml, merged.pt and the package's own answers."""
    python = root / ".venv-peer" / "bin" / "python"
    if not python.exists():
        pytest.skip("imagen-pytorch 1.21.6 is not installed: `make peer` puts it into .venv-peer")
    folder = tmp_path_factory.mktemp("imagen")
    script = HERE / "imagen_reference.py"
    done = subprocess.run(
        [str(python), "-W", "ignore", str(script), str(folder)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def run(reference, root, tmp_path_factory):
    """The folder of a run made from the reference's weights."""
    patch = pytest.MonkeyPatch()
    outputs = tmp_path_factory.mktemp("outputs")
    patch.setenv("ECHOCASCADE_OUTPUTS", str(outputs))
    regressor = {"size": 56, "n_frames": 8, "fps": 4, "preset": "small"}
    keys = [f"regressor.{k}={v}" for k, v in regressor.items()]
    done = import_run(
        reference / "config.yaml", reference / "merged.pt", "theirs", None, "params/2scm.yaml", keys
    )
    patch.undo()
    assert "GPL-2.0" in done.text
    return outputs / "theirs"


@pytest.fixture(scope="module")
def cascade(run):
    from echocascade.params import load_params

    return Cascade.load(load_params(run / "params.yaml"), run / "checkpoints")


@pytest.mark.parametrize("index", [0, 1], ids=["base", "TSSR"])
@pytest.mark.parametrize("level", range(len(SIGMAS)), ids=[f"sigma {s}" for s in SIGMAS])
def test_our_denoiser_equals_theirs(cascade, reference, index, level):
    theirs = load_file(reference / "reference.safetensors")
    stage, sigma = cascade.stages[index], SIGMAS[level]
    lowres = theirs[f"{index}.lowres"] if index else None
    cond = Conditioning(
        theirs["lvef"][:, None], theirs["frame"] * 2 - 1, torch.ones(2), lowres,
        None if lowres is None else torch.full((2,), 0.2),
    )  # fmt: skip
    x = sigma * theirs[f"{index}.x"]
    with torch.no_grad():
        both = stage.denoiser(torch.cat([x, x]), noise_level(sigma),
                              cond.joined(cond.without_lambda()))  # fmt: skip
        alone = stage.denoiser(x, noise_level(sigma), cond)
    given, null = theirs[f"{index}.{level}.given"], theirs[f"{index}.{level}.null"]
    torch.testing.assert_close(alone, given, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both, torch.cat([given, null]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(given, null, atol=1e-4)


class Written:
    """Noise that was written down, in place of a seed's."""

    def __init__(self, values):
        self.values = values

    def __call__(self, like):
        return self.values.to(like)


@pytest.mark.parametrize("index", [0, 1], ids=["base", "TSSR"])
def test_our_sampler_ends_where_theirs_does(cascade, reference, index, monkeypatch):
    """Guidance scale 5, dynamic thresholding, their conditioning path; without churn."""
    theirs = load_file(reference / "reference.safetensors")

    def written(seed, purpose, indices):
        return Written(theirs["augmentation" if purpose.startswith("augment") else
                              f"latents.{index}"])  # fmt: skip

    monkeypatch.setattr("echocascade.cascade.synthesis.SampleNoise", written)
    sigma_max = cascade.stages[index].stage.params.sampler.sigma_max
    assert theirs[f"latents.{index}"].std() < sigma_max  # unit noise, scaled by the sampler
    video = cascade.stages[index].sample(
        theirs["frame"] * 2 - 1, theirs["lvef"][:, None], [0, 1], seed=0,
        lowres=theirs["sampled.0"] * 2 - 1 if index else None,
        guidance=Guidance(5.0, all_stages=True),
    )  # fmt: skip
    # evaluations at guidance 5 multiply what differs in the last digits of float32
    torch.testing.assert_close((video + 1) / 2, theirs[f"sampled.{index}"], atol=1e-3, rtol=0)
    assert theirs[f"sampled.{index}"].std() > 0.01


def test_an_imported_run_samples_as_any_other(cascade):
    g = torch.Generator().manual_seed(3)
    I_c = torch.rand(2, 3, 56, 56, generator=g) * 2 - 1
    lambda_c = torch.tensor([[0.3], [0.6]])
    together = cascade.sample(I_c, lambda_c, [1, 2], guidance=Guidance(5.0, all_stages=True))
    assert [tuple(v.shape) for v in together] == [(2, 3, 4, 28, 28), (2, 3, 8, 56, 56)]
    assert together[-1].abs().max() <= 1 and together[-1].isfinite().all()


def test_imported_stages_are_not_trained(run, cascade, tmp_path):
    params = cascade.params
    directory = run / "checkpoints" / "base"
    before = sorted(p.name for p in directory.iterdir())
    found = train_stage(params, 0, None, directory)
    assert found.parameters > 0 and found.history == []
    assert sorted(p.name for p in directory.iterdir()) == before
    with pytest.raises(CheckpointError, match="import-weights"):
        train_stage(params, 0, None, tmp_path / "base")


def test_the_averaged_weights_are_what_samples(run, reference):
    merged = torch.load(reference / "merged.pt", weights_only=True)
    (folder,) = (run / "checkpoints" / "tssr").glob("step-*")
    ema = load_file(folder / "ema.safetensors")
    name = "final_conv.weight"
    assert torch.equal(ema[f"network.unet.{name}"], merged["ema"][f"1.ema_model.{name}"])
    assert not torch.equal(ema[f"network.unet.{name}"], merged["model"][f"unets.1.{name}"])


def test_weights_of_another_configuration_are_refused(reference, tmp_path):
    tree = yaml.safe_load((reference / "config.yaml").read_text(encoding="utf-8"))
    tree["unets"]["unet2"]["dim_mults"] = [1, 4]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    regressor = ["regressor.size=56", "regressor.n_frames=8", "regressor.fps=4",
                 "regressor.preset=small"]  # fmt: skip
    params = params_of(read_config(tmp_path / "config.yaml"), "x", "params/2scm.yaml", regressor)
    with pytest.raises(CheckpointError, match="stage tssr: another architecture"):
        import_weights(reference / "merged.pt", params, tmp_path / "checkpoints")


def test_the_command_says_what_it_made_and_refuses_a_second(reference, tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOCASCADE_OUTPUTS", str(tmp_path))
    command = [sys.executable, "-m", "echocascade.cli", "import-weights",
               str(reference / "config.yaml"), str(reference / "merged.pt"), "--name", "theirs",
               *(x for k in ("size=56", "n_frames=8", "fps=4", "preset=small")
                 for x in ("--set", f"regressor.{k}"))]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "2 sampling steps" in first.stdout and "GPL-2.0" in first.stdout
    assert sorted(p.name for p in (tmp_path / "theirs").iterdir()) == [
        "checkpoints", "params.yaml", "provenance.json",
    ]  # fmt: skip
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.strip().splitlines() == [
        "echocascade: outputs/theirs is there already; choose another --name or delete it"
    ]
    shutil.rmtree(tmp_path / "theirs")
