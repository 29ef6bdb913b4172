"""The scanner of one clip: sector, polar grid, gain, shadows, clutter, log compression, overlay."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom.canvas import smooth_field

Float32 = NDArray[np.float32]
FloatLike = NDArray[np.floating]

SIZE = 112
N_DEPTHS, N_BEAMS = 144, 120
# The warp is evaluated on every fourth sample, one node beyond each border, then enlarged.
COARSE = 4


@dataclass(frozen=True)
class Scanner:
    """Settings of one clip. Lengths in pixels, angles in radians, levels in dB.

    apex_x, apex_y: tip of the sector; half_angle; first_depth, last_depth: radii shown; dynamic
    range, gain, gamma: log compression; noise: electronic noise at full depth; lateral_sigma,
    axial_sigma: point spread in beams and samples; texture_turn: how far the speckle turns over
    (radians) from end-diastole to end-systole because tissue leaves the slice; tint: share of
    blue taken away (sepia machines).
    """

    apex_x: float
    apex_y: float
    half_angle: float
    first_depth: float
    last_depth: float
    dynamic_range: float
    gain: float
    gamma: float
    noise: float
    lateral_sigma: float
    axial_sigma: float
    texture_turn: float
    tint: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """A scanner setting for one clip."""
    wide = rng.random() < 0.85
    return Scanner(
        apex_x=float(56.0 + rng.normal(0.0, 1.2)),
        apex_y=float(rng.choice([6.0, 9.0]) + rng.normal(0.0, 1.2)),
        half_angle=float(np.radians(rng.normal(45.0, 1.0) if wide else rng.uniform(36.0, 43.0))),
        first_depth=float(rng.uniform(1.0, 4.0)),
        last_depth=float(rng.uniform(101.0, 106.0)),
        dynamic_range=float(rng.uniform(46.0, 60.0)),
        gain=float(rng.normal(1.8, 1.6)),
        gamma=float(rng.uniform(1.5, 2.5)),
        noise=float(rng.uniform(-66.0, -48.0)),
        lateral_sigma=float(rng.uniform(0.9, 1.6)),
        axial_sigma=float(rng.uniform(0.4, 0.7)),
        texture_turn=float(rng.uniform(2.0, 4.0)),
        tint=float(rng.uniform(0.1, 0.25)) if rng.random() < 0.08 else 0.0,
    )


def polar_points(scanner: Scanner) -> tuple[Float32, tuple[int, int]]:
    """Image x, y (2, N) of the coarse polar nodes, and their (rows, columns)."""
    rows, columns = N_DEPTHS // COARSE + 2, N_BEAMS // COARSE + 2
    depth = (np.arange(rows) - 0.5) * COARSE / N_DEPTHS
    beam = (np.arange(columns) - 0.5) * COARSE / N_BEAMS
    radius = scanner.first_depth + depth * (scanner.last_depth - scanner.first_depth)
    angle = (2.0 * beam - 1.0) * scanner.half_angle
    x = scanner.apex_x + radius[:, None] * np.sin(angle)[None, :]
    y = scanner.apex_y + radius[:, None] * np.cos(angle)[None, :]
    return np.stack([x.ravel(), y.ravel()]).astype(np.float32), (rows, columns)


def to_polar(scanner: Scanner, x: FloatLike, y: FloatLike) -> tuple[FloatLike, FloatLike]:
    """Beam and depth indices (fractional) of image points, any shape."""
    dx, dy = x - scanner.apex_x, y - scanner.apex_y
    beam = (np.arctan2(dx, dy) / scanner.half_angle + 1.0) * 0.5 * N_BEAMS - 0.5
    span = scanner.last_depth - scanner.first_depth
    depth = (np.hypot(dx, dy) - scanner.first_depth) / span * N_DEPTHS - 0.5
    return beam, depth


def scan_maps(scanner: Scanner) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Fixed-point maps for cv2.remap from the polar image to the 112 x 112 frame."""
    axis = np.arange(SIZE, dtype=np.float32)
    beam, depth = to_polar(scanner, axis[None, :], axis[:, None])
    outside = (beam < -0.5) | (beam > N_BEAMS - 0.5) | (depth < -0.5) | (depth > N_DEPTHS - 0.5)
    beam = np.where(outside, -9.0, np.clip(beam, 0, N_BEAMS - 1)).astype(np.float32)
    depth = np.where(outside, -9.0, np.clip(depth, 0, N_DEPTHS - 1)).astype(np.float32)
    whole, fraction = cv2.convertMaps(beam, depth, cv2.CV_16SC2)
    return np.asarray(whole, np.int16), np.asarray(fraction, np.uint16)


def gain_field(scanner: Scanner, heart_angle: float, rng: np.random.Generator) -> Float32:
    """Amplitude gain (N_DEPTHS, N_BEAMS): TGC, uneven contact, fading edges, shadows.

    heart_angle: direction of the left ventricle; deep shadows of ribs and lung stay off it.
    """
    shape = (N_DEPTHS, N_BEAMS)
    depth = np.linspace(0.0, 1.0, N_DEPTHS)[:, None]
    angle = np.linspace(-1.0, 1.0, N_BEAMS)[None, :] * scanner.half_angle
    db = rng.uniform(-6.0, 5.0) * (depth - 0.45) + 2.2 * smooth_field(rng, shape, (50.0, 40.0))
    db = db + 1.6 * np.interp(depth, np.linspace(0, 1, 8), rng.standard_normal(8))
    edge = np.clip((np.abs(angle) / scanner.half_angle - 0.6) / 0.4, 0.0, 1.0)
    db = db - edge**1.5 * np.where(angle < 0, *rng.uniform(0.0, 12.0, 2))
    for _ in range(int(rng.choice([0, 1, 1, 2]))):
        side = -1.0 if rng.random() < 0.5 else 1.0
        centre = heart_angle + side * rng.uniform(0.42, 0.85)
        width, onset = rng.uniform(0.03, 0.16), rng.uniform(0.0, 0.5)
        profile = np.exp(-(((angle - centre) / width) ** 4))
        db = db - rng.uniform(8.0, 26.0) * profile * np.clip((depth - onset) * 6.0, 0.0, 1.0)
    faint = heart_angle + rng.uniform(-0.3, 0.3)
    db = db - rng.uniform(0.0, 4.0) * depth * np.exp(-(((angle - faint) / 0.12) ** 2))
    return (10.0 ** ((db + scanner.gain) / 20.0)).astype(np.float32)


def clutter(rng: np.random.Generator, background_db: float) -> Float32:
    """Static complex clutter (N_DEPTHS, N_BEAMS, 4): near-field reverberation, haze, streaks."""
    shape = (N_DEPTHS, N_BEAMS)
    depth = np.linspace(0.0, 1.0, N_DEPTHS, dtype=np.float32)[:, None]
    near = rng.uniform(-30.0, -14.0) - depth / rng.uniform(0.05, 0.14) * 8.7
    haze = background_db - rng.uniform(4.0, 14.0) + 5.0 * smooth_field(rng, shape, (40.0, 30.0))
    haze = haze - 14.0 * np.abs(depth - rng.uniform(0.2, 0.7))
    streaks = smooth_field(rng, shape, (3.0, 34.0)) * np.clip(
        smooth_field(rng, shape, (40, 30)), 0, 2
    )
    haze = haze + 5.0 * np.clip(streaks, -1.0, 2.0)
    amplitude = 10.0 ** (np.maximum(near, -90.0) / 20.0) + 10.0 ** (haze / 20.0)
    # Reverberation at the probe lies in bands across the beams; haze further down is finer.
    banded, fine = rng.standard_normal((2, *shape, 4), dtype=np.float32)
    banded = cv2.GaussianBlur(banded, (0, 0), sigmaX=9.0, sigmaY=0.7) * np.float32(9.0)
    fine = cv2.GaussianBlur(fine, (0, 0), sigmaX=1.6, sigmaY=0.6) * np.float32(3.2)
    share = np.exp(-((depth / 0.22) ** 2))[..., None]
    return (amplitude[..., None] * (share * banded + (1 - share) * fine)).astype(np.float32)


def haze(rng: np.random.Generator, background_db: float) -> Float32:
    """Incoherent glow (N_DEPTHS, N_BEAMS) of multiple scattering, added to the envelope."""
    shape = (N_DEPTHS, N_BEAMS)
    depth = np.linspace(0.0, 1.0, N_DEPTHS, dtype=np.float32)[:, None]
    db = background_db - rng.uniform(14.0, 24.0) + 3.5 * smooth_field(rng, shape, (60.0, 45.0))
    db = (
        db
        - 12.0 * np.abs(depth - rng.uniform(0.15, 0.6))
        + 1.0 * smooth_field(rng, shape, (4.0, 30.0))
    )
    return (10.0 ** (db / 20.0)).astype(np.float32)


def overlay(scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the machine writes into the frame: probe mark, depth ruler, tick dots; (112, 112)."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    if rng.random() < 0.92:
        x, y = round(scanner.apex_x + rng.uniform(10.0, 13.0)), int(rng.integers(2, 5))
        mark = np.array([[0, 130, 90, 0], [150, 60, 170, 60], [90, 180, 60, 120], [0, 90, 130, 0]])
        image[y : y + 4, x : x + 4] = mark
    offset, direction = rng.uniform(4.0, 14.0), np.array([np.sin(0.785), np.cos(0.785)])
    normal = np.array([direction[1], -direction[0]])
    start = np.array([scanner.apex_x, scanner.apex_y]) + offset * normal
    if rng.random() < 0.85:
        near = start + rng.uniform(18.0, 45.0) * direction
        far = near + rng.uniform(12.0, 28.0) * direction
        grey = int(rng.integers(140, 240))
        for a, b in ((near, far), (near - normal, near + normal), (far - normal, far + normal)):
            ends = [tuple(int(v) for v in np.round(8 * point)) for point in (a, b)]
            cv2.line(image, ends[0], ends[1], grey, 1, cv2.LINE_8, 3)
    if rng.random() < 0.3:
        side = np.array([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
        for step in np.arange(rng.uniform(20, 40), 75.0, rng.uniform(7.0, 12.0)):
            x, y = (
                np.array([scanner.apex_x, scanner.apex_y]) + side * direction * step + side * (2, 0)
            )
            if 0 <= x < SIZE - 1 and 0 <= y < SIZE - 1:
                image[int(y), int(x)] = 210
    return image
