"""EDM after Karras et al. 2022: preconditioning, loss, schedule, samplers, guidance.

Nothing here knows what a heart or a video is; tensors of any rank (B, ...) go through.
"""

from echocascade.diffusion.guidance import ALL_SIGMAS, guided, guided_batched
from echocascade.diffusion.inpainting import Held, holding
from echocascade.diffusion.loss import EDMLoss
from echocascade.diffusion.mixture import GaussianMixture, probability_flow_1d
from echocascade.diffusion.preconditioning import Denoise, Denoiser, Preconditioning, bind
from echocascade.diffusion.samplers import (
    SAMPLERS,
    Churn,
    Step,
    Trajectory,
    network_evaluations,
    plan_steps,
    sample_dpmpp_2m,
    sample_euler,
    sample_heun,
)
from echocascade.diffusion.schedule import karras_sigmas

__all__ = [
    "ALL_SIGMAS",
    "SAMPLERS",
    "Churn",
    "Denoise",
    "Denoiser",
    "EDMLoss",
    "GaussianMixture",
    "Held",
    "Preconditioning",
    "Step",
    "Trajectory",
    "bind",
    "guided",
    "guided_batched",
    "holding",
    "karras_sigmas",
    "network_evaluations",
    "plan_steps",
    "probability_flow_1d",
    "sample_dpmpp_2m",
    "sample_euler",
    "sample_heun",
]
