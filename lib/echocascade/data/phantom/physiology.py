"""What the phantom's hearts do in time: LVEF, volumes, heart rate, volume and valve curves.

The distributions are compact parametric fits to the published table of EchoNet-Dynamic
(Ouyang20): LVEF a mixture of three normals, EDV log-normal around a line in LVEF, clip duration
log-logistic. The curves follow the Wiggers diagram: isovolumic contraction, ejection, isovolumic
relaxation (the end-systolic plateau), rapid filling, diastasis, atrial kick.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LVEF_RULES = ("echonet", "uniform", "mixed")
LVEF_RANGE = (8.0, 92.0)
UNIFORM_RANGE = (10.0, 90.0)
DURATION_RANGE = (0.72, 20.04)

# Mixture (weight, mean, sd) of LVEF in percent: normal, mildly reduced or hyperdynamic, failing.
_LVEF_MIXTURE = ((0.611, 61.67, 4.67), (0.305, 51.81, 11.38), (0.084, 26.98, 7.44))
_DURATION_LOG_MEDIAN, _DURATION_LOG_SCALE = np.log(3.38), 0.15


def draw_lvef(rng: np.random.Generator, rule: str, uniform_share: float = 0.5) -> float:
    """One LVEF in percent.

    `rule` is "echonet" (like the real table, 8..92), "uniform" (10..90) or "mixed" (uniform with
    probability `uniform_share`, else echonet).
    """
    if rule not in LVEF_RULES:
        raise ValueError(f"lvef is {rule!r}; allowed are {', '.join(LVEF_RULES)}")
    coin, component, uniform = rng.random(3)
    if rule == "uniform" or (rule == "mixed" and coin < uniform_share):
        return float(UNIFORM_RANGE[0] + (UNIFORM_RANGE[1] - UNIFORM_RANGE[0]) * uniform)
    edges = np.cumsum([weight for weight, _, _ in _LVEF_MIXTURE])
    chosen = min(int(np.searchsorted(edges, component)), len(_LVEF_MIXTURE) - 1)
    _, mean, sd = _LVEF_MIXTURE[chosen]
    while True:
        value = rng.normal(mean, sd)
        if LVEF_RANGE[0] <= value <= LVEF_RANGE[1]:
            return float(value)


def echonet_lvef_density(lvef_percent: FloatArray) -> FloatArray:
    """Density of the rule "echonet" at LVEFs (N,) in percent, not normalised to its range."""
    x = np.asarray(lvef_percent, float)[..., None]
    weight, mean, sd = np.array(_LVEF_MIXTURE).T
    parts = weight / (sd * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((x - mean) / sd) ** 2)
    inside = (x[..., 0] >= LVEF_RANGE[0]) & (x[..., 0] <= LVEF_RANGE[1])
    return np.where(inside, parts.sum(-1), 0.0)


def draw_edv_ml(rng: np.random.Generator, lvef_percent: float) -> float:
    """End-diastolic volume in ml, 25..380: failing hearts are dilated."""
    log_median = 5.55 - 0.0199 * lvef_percent
    return float(np.clip(np.exp(rng.normal(log_median, 0.34)), 25.0, 380.0))


def draw_fps(rng: np.random.Generator) -> int:
    """Frame rate in frames/s, 18..138, four fifths of them 50 as in the real table."""
    if rng.random() < 0.795:
        return 50
    return int(np.clip(np.round(54.0 * np.exp(0.24 * rng.standard_t(5))), 18, 138))


def draw_duration_s(rng: np.random.Generator, bounds: tuple[float, float] | None = None) -> float:
    """Clip duration in seconds, log-logistic with median 3.38 s, truncated to `bounds`."""
    low, high = DURATION_RANGE if bounds is None else bounds
    if not 0.5 <= low <= high:
        raise ValueError(f"duration_s is ({low}, {high}); allowed is 0.5 <= low <= high")
    z = (np.log([low, high]) - _DURATION_LOG_MEDIAN) / _DURATION_LOG_SCALE
    p_low, p_high = 1.0 / (1.0 + np.exp(-z))
    p = np.clip(p_low + (p_high - p_low) * rng.random(), 1e-9, 1 - 1e-9)
    duration = np.exp(_DURATION_LOG_MEDIAN + _DURATION_LOG_SCALE * np.log(p / (1 - p)))
    return float(np.clip(duration, low, high))


@dataclass(frozen=True)
class Rhythm:
    """Beats of one clip on the time axis in seconds.

    `starts` (n_beats + 1,) end-diastoles, `systoles` (n_beats,) time from end-diastole to the
    start of the end-systolic plateau's middle (end-systole), `relaxation_s` half width of the
    plateau, `rapid_share` share of the stroke volume that returns in rapid filling, `ed_frame`
    and `es_frame` the traced beat, both exactly on frames.
    """

    starts: FloatArray
    systoles: FloatArray
    relaxation_s: float
    rapid_share: float
    ed_frame: int
    es_frame: int

    def phase(self, t: FloatArray) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
        """Beat number, time since its end-diastole and its length, each of the shape of t."""
        beat = np.clip(np.searchsorted(self.starts, t, side="right") - 1, 0, len(self.systoles) - 1)
        return beat, t - self.starts[beat], np.diff(self.starts)[beat]


def draw_rhythm(rng: np.random.Generator, n_frames: int, fps: float, lvef_percent: float) -> Rhythm:
    """Heart rate and beats of a clip; ED and ES of the traced beat fall exactly on frames."""
    mean_rate = 68.0 + 0.25 * max(0.0, 55.0 - lvef_percent)
    rate = float(np.clip(mean_rate * np.exp(0.2 * rng.standard_normal()), 44.0, 132.0))
    cycle = 60.0 / rate
    irregular = 0.16 if rng.random() < 0.05 else 0.02
    systole = 0.29 + 0.09 * (cycle - 0.86) + 0.012 * rng.standard_normal()
    systole = float(np.clip(systole, 0.22, 0.48 * cycle))
    es_offset = max(2, round(systole * fps))
    duration = n_frames / fps
    n_side = int(np.ceil(duration / (0.6 * cycle))) + 2
    cycles = cycle * np.exp(irregular * np.clip(rng.standard_normal(2 * n_side), -2, 2))
    cycles = np.maximum(cycles, es_offset / fps * 1.75)
    last_ed = max(0, n_frames - 1 - es_offset)
    window = min(last_ed, max(1, int(cycle * fps)))
    ed_frame = int(rng.integers(0, window + 1))
    starts = np.cumsum(np.concatenate([[0.0], cycles]))
    starts += ed_frame / fps - starts[n_side]
    systoles = np.clip(0.62 * cycles, None, es_offset / fps)
    systoles[n_side] = es_offset / fps
    rapid = float(np.clip(rng.normal(0.72, 0.1), 0.45, 0.92))
    relaxation = float(rng.uniform(0.03, 0.045))
    return Rhythm(starts, systoles, relaxation, rapid, ed_frame, ed_frame + es_offset)


def _smooth(x: FloatArray) -> FloatArray:
    """Cubic step from 0 at x = 0 to 1 at x = 1, flat outside."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _diastole(
    rhythm: Rhythm, since: FloatArray, systole: FloatArray, cycle: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Times in seconds: since the valve opened, length of rapid filling, of the atrial kick."""
    opening = systole + rhythm.relaxation_s
    filling = cycle - opening
    return since - opening, np.minimum(0.24, 0.55 * filling), np.minimum(0.16, 0.4 * filling)


def volume_curve(rhythm: Rhythm, t: FloatArray) -> FloatArray:
    """LV volume at times t (s) as a fraction: 1 at end-diastole, 0 at end-systole; shape of t."""
    beat, since, cycle = rhythm.phase(t)
    systole = rhythm.systoles[beat]
    since_opening, rapid_s, kick_s = _diastole(rhythm, since, systole, cycle)
    contraction = np.minimum(0.045, 0.2 * systole)
    ejection_end = systole - rhythm.relaxation_s
    ejected = _smooth((since - contraction) / (ejection_end - contraction))
    rapid = _smooth(since_opening / rapid_s)
    kick = _smooth((since - (cycle - kick_s)) / (0.9 * kick_s))
    # Positive: rapid filling and kick take at most 0.95 of the filling time.
    pause = cycle - kick_s - systole - rhythm.relaxation_s - rapid_s
    creep = np.clip((since_opening - rapid_s) / pause, 0.0, 1.0)
    share = rhythm.rapid_share
    filled = share * rapid + (1 - share) * (0.25 * creep + 0.75 * kick)
    return np.clip(1.0 - ejected + filled, 0.0, 1.0)


def valve_curve(rhythm: Rhythm, t: FloatArray) -> FloatArray:
    """Mitral opening at times t (s): 0 closed, 1 wide open, with the M of E and A waves."""
    beat, since, cycle = rhythm.phase(t)
    since_opening, rapid_s, kick_s = _diastole(rhythm, since, rhythm.systoles[beat], cycle)
    early = _smooth(since_opening / 0.07) * (1 - 0.62 * _smooth((since_opening - 0.1) / rapid_s))
    late = 0.8 * _smooth((since - (cycle - kick_s)) / (0.5 * kick_s))
    closing = _smooth((since - (cycle - 0.4 * kick_s)) / (0.4 * kick_s))
    return np.where(since_opening > 0, np.maximum(early, late) * (1 - closing), 0.0)
