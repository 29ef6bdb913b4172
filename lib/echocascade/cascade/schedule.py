"""How a training proceeds: learning rate and moving average as functions of the step."""

from echocascade.params import TrainingParams


def learning_rate(training: TrainingParams, step: int, progress: float) -> float:
    """Linear warm-up over steps, constant, then linear decay over the last part of the run."""
    warm = min(1.0, (step + 1) / (training.warmup_steps + 1))
    if training.decay_from >= 1:
        return training.learning_rate * warm
    left = (1 - progress) / (1 - training.decay_from)
    return training.learning_rate * warm * min(1.0, max(left, 0.0))


def ema_decay(step: int, gamma: float) -> float:
    """beta of the power-function average after `step` updates (Karras24 Eq. 4)."""
    return (1 - 1 / (step + 1)) ** (gamma + 1)


def progress_of(training: TrainingParams, step: int, seconds: float) -> float:
    """Share of the run that is done, by steps or by time, whichever is further."""
    share = step / training.steps
    if training.limit_s is not None:
        share = max(share, seconds / training.limit_s)
    return min(share, 1.0)
