"""Run by .venv-peer's Python: a checkpoint that imagen-pytorch itself saves, and what it answers.

    python imagen_reference.py FOLDER

FOLDER/config.yaml and merged.pt as the paper's authors release them, from networks nobody trained;
FOLDER/reference.safetensors with inputs and the answers of the package's own denoiser and sampler.
"""

import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from echocascade.studies.bench.peer import import_imagen

UNET = {
    "dim": 16, "num_resnet_blocks": 1, "dim_mults": [1, 2], "max_text_len": 1, "attn_heads": 2,
    "attn_dim_head": 8, "layer_attns": False, "layer_cross_attns": [False, True],
    "cond_images_channels": 3, "attn_pool_num_latents": 4, "learned_sinu_pos_emb_dim": 8,
}  # fmt: skip
CONFIG = {
    "unets": {"unet1": UNET, "unet2": {**UNET, "memory_efficient": True}},
    "imagen": {
        "condition_on_text": True, "image_sizes": [28, 56], "text_embed_dim": 1,
        "num_sample_steps": [3, 2], "random_crop_sizes": [None, 28],
        "temporal_downsample_factor": [2, 1], "sigma_min": 0.002, "sigma_max": 80,
        "sigma_data": 0.25, "rho": 7, "P_mean": -1.2, "P_std": 1.2, "S_churn": [0, 0],
        "S_tmin": 0.05, "S_tmax": 50, "S_noise": 1.003, "resize_mode": "trilinear",
    },
    "trainer": {"lr": 5e-4},
    "dataset": {"fps": 4, "duration": 2.0, "grayscale": False},
    "checkpoint": {"cond_scale": 5.0},
}  # fmt: skip
SIGMAS = (0.002, 0.1, 0.7, 5.0, 80.0)


def build(imagen_pytorch):
    """Both networks with every weight random, and their trainer, whose averages differ."""
    torch.manual_seed(0)
    unets = [imagen_pytorch.Unet3D(**u, lowres_cond=i > 0)
             for i, u in enumerate(CONFIG["unets"].values())]  # fmt: skip
    imagen = imagen_pytorch.ElucidatedImagen(unets=unets, **CONFIG["imagen"])
    trainer = imagen_pytorch.ImagenTrainer(imagen=imagen, **CONFIG["trainer"], verbose=False)
    with torch.no_grad():
        for p in [*imagen.parameters(), *trainer.ema_unets.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    return trainer


def denoised(imagen, unets, g):
    """Answers of theirs at all noise levels, with and without the condition."""
    lvef, frame = torch.tensor([0.3, 0.8]), torch.rand(2, 3, 56, 56, generator=g)
    found = {"lvef": lvef, "frame": frame}
    for i, (unet, side, n_frames) in enumerate(zip(unets, (28, 56), (4, 8), strict=True)):
        x = torch.randn(2, 3, n_frames, side, side, generator=g)
        lowres = torch.rand(2, 3, n_frames, side, side, generator=g) * 2 - 1
        extra = {} if i == 0 else {"lowres_cond_img": lowres,
                                   "lowres_noise_times": torch.full((2,), 0.2)}  # fmt: skip
        found |= {f"{i}.x": x, f"{i}.lowres": lowres}
        for level, sigma in enumerate(SIGMAS):
            for name, drop in (("given", 0.0), ("null", 1.0)):
                found[f"{i}.{level}.{name}"] = imagen.preconditioned_network_forward(
                    unet.forward, sigma * x, torch.full((2,), sigma), sigma_data=0.25,
                    text_embeds=lvef[:, None, None], text_mask=torch.ones(2, 1, dtype=torch.bool),
                    cond_images=frame, cond_drop_prob=drop, **extra,
                )  # fmt: skip
    return found


def sampled(trainer, found):
    """Their whole sampler on noise that is written down: without churn, guidance scale 5."""
    drawn, randn, randn_like = [], torch.randn, torch.randn_like

    def noise(shape, *args, **kwargs):
        values = randn(shape, *args, **kwargs)
        drawn.append(values)
        return values

    def like(x, *args, **kwargs):
        values = randn_like(x, *args, **kwargs)
        drawn.append(values)
        return values

    torch.manual_seed(1)
    torch.randn, torch.randn_like = noise, like
    videos = trainer.sample(
        batch_size=2, video_frames=8, text_embeds=found["lvef"][:, None, None],
        cond_images=found["frame"], cond_scale=5.0, use_tqdm=False, return_all_unet_outputs=True,
    )  # fmt: skip
    torch.randn, torch.randn_like = randn, randn_like
    steps = CONFIG["imagen"]["num_sample_steps"][0]
    return {
        "sampled.0": videos[0], "sampled.1": videos[1], "latents.0": drawn[0],
        "augmentation": drawn[1 + steps], "latents.1": drawn[2 + steps],
    }  # fmt: skip


@torch.no_grad()
def main(folder: Path) -> None:
    trainer = build(import_imagen())
    trainer.eval()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    trainer.save(str(folder / "merged.pt"), time_elapsed=1.0)
    g = torch.Generator().manual_seed(2)
    averaged = [ema.ema_model for ema in trainer.ema_unets]
    found = denoised(trainer.imagen, averaged, g)
    found |= sampled(trainer, found)
    save_file({k: v.contiguous() for k, v in found.items()}, folder / "reference.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
