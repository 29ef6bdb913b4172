"""Consistency distillation against trajectories that are known in closed form."""

import pytest
import torch

from echocascade.diffusion import karras_sigmas, network_evaluations
from echocascade.diffusion.consistency import (
    ConsistencyDistillation,
    heun_step,
    sample_consistency,
)
from echocascade.rng import torch_generator

STD = 0.7  # of the clean signal, a centred Gaussian: every trajectory is x sqrt(s^2 + STD^2) / ...


def perfect(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    s = sigma.reshape(-1, *[1] * (x.ndim - 1)) if sigma.ndim else sigma
    return (x * STD**2 / (s**2 + STD**2)).to(x.dtype)


def end_of_trajectory(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    s = sigma.reshape(-1, *[1] * (x.ndim - 1)) if sigma.ndim else sigma
    return (x * STD / (s**2 + STD**2).sqrt()).to(x.dtype)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "consistency"), dtype=torch.float64)


def test_a_fine_heun_step_follows_the_gaussian_trajectory():
    x, sigma = draw(4, 3), torch.full((4,), 2.0, dtype=torch.float64)
    after = heun_step(perfect, x, sigma, sigma - 0.01)
    exact = x * ((1.99**2 + STD**2) / (2.0**2 + STD**2)) ** 0.5
    torch.testing.assert_close(after, exact, atol=1e-7, rtol=0)


def test_a_step_to_zero_ends_at_the_denoisers_answer():
    x, sigma = draw(2, 3), torch.tensor([0.1, 2.0], dtype=torch.float64)
    after = heun_step(perfect, x, sigma, torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(after[:1], perfect(x[:1], sigma[:1]))


def test_the_loss_is_near_zero_for_the_true_consistency_function_and_not_for_the_denoiser():
    sigmas = karras_sigmas(200, 0.01, 40.0).tolist()
    method = ConsistencyDistillation(sigmas, STD)
    step = torch.arange(0, 200, 10)
    y, noise = STD * draw(20, 8), draw(20, 8)
    true = method.loss(end_of_trajectory, perfect, y, noise, step)
    plain = method.loss(perfect, perfect, y, noise, step)
    assert true.max() < 1e-4
    assert plain.max() > 10 * true.max()


def test_the_target_carries_no_gradient():
    method = ConsistencyDistillation([2.0, 1.0, 0.0], STD)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    seen = []

    def student(x, sigma):
        seen.append(torch.is_grad_enabled())
        return weight * perfect(x, sigma)

    method.loss(student, perfect, draw(2, 3), draw(2, 3), torch.tensor([0, 1])).mean().backward()
    assert sorted(seen) == [False, True]
    assert weight.grad is not None


def test_the_true_consistency_function_samples_the_gaussian_in_one_and_in_two_evaluations():
    generator = torch_generator(0, "renoise")
    for n in (1, 2):
        calls = []

        def counted(x, sigma, calls=calls):
            calls.append(float(sigma))
            return end_of_trajectory(x, sigma)

        samples = sample_consistency(
            counted, draw(20_000, 2), karras_sigmas(n, 0.8, 80.0),
            randn_like=lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype),
        )  # fmt: skip
        assert len(calls) == network_evaluations("consistency", n) == n
        assert samples.std() == pytest.approx(STD, rel=0.02)  # four standard errors of 40,000


def test_churn_and_a_step_off_the_grid_are_refused():
    with pytest.raises(ValueError, match="S_churn is 3"):
        sample_consistency(perfect, draw(1, 2), [1.0, 0.0], S_churn=3.0)
    method = ConsistencyDistillation([1.0, 0.0], STD)
    with pytest.raises(ValueError, match="step is"):
        method.loss(perfect, perfect, draw(1, 2), draw(1, 2), torch.tensor([1]))
