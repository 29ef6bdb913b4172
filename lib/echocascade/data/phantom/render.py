"""From anatomy and motion to frames: speckle in polar coordinates, then scan conversion.

Each frame samples two complex scatterer textures at its points' end-diastolic places, so speckle
moves with the tissue; the mix of the two turns with the contraction and drifts from beat to beat
(tissue leaving the slice), so it also decorrelates. Leaflets are drawn into the polar field, which
is then blurred by the point spread function (its lateral width grows with depth by itself),
log-compressed and scan-converted.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom import anatomy, machine
from echocascade.data.phantom.geometry import Pose, Ventricle
from echocascade.data.phantom.machine import COARSE, N_BEAMS, N_DEPTHS, Scanner
from echocascade.data.phantom.motion import (
    Leaflets,
    RightHeart,
    leaflet_lines,
    material_coordinates,
)

Float32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]

# Frames warped at a time: the coordinate arrays then stay in the processor's cache.
_CHUNK = 24
_NOISE_MARGIN = 48


@dataclass(frozen=True)
class Scene:
    """All that is drawn in one clip; c and opening are (T,): contraction, valve opening."""

    ventricle: Ventricle
    right: RightHeart
    leaflets: Leaflets
    levels: anatomy.Levels
    scanner: Scanner
    pose: Pose
    c: FloatArray
    opening: FloatArray


def texture_maps(scene: Scene, part: slice) -> Float32:
    """Texel coordinates (T, rows, columns, 2) of the coarse polar nodes for frames `part`."""
    points, grid = machine.polar_points(scene.scanner)
    u, v = material_coordinates(
        scene.ventricle, scene.right, scene.pose.at(part), scene.c[part], points
    )
    scale = np.float32(1.0 / anatomy.TEXEL)
    texels = np.empty((*u.shape, 2), np.float32)
    texels[..., 0] = (u - np.float32(anatomy.U_LOW)) * scale
    texels[..., 1] = (v - np.float32(anatomy.V_LOW)) * scale
    return texels.reshape(-1, *grid, 2)


def fine_map(coarse: Float32) -> Float32:
    """The texel map (N_DEPTHS, N_BEAMS, 2) of every polar sample from that of the coarse nodes."""
    full = cv2.resize(
        coarse, (coarse.shape[1] * COARSE, coarse.shape[0] * COARSE), interpolation=cv2.INTER_LINEAR
    )
    return full[COARSE:-COARSE, COARSE:-COARSE]


def leaflet_points(scene: Scene) -> NDArray[np.int32]:
    """Leaflets as polar sample coordinates (T, 4, P, 2) in eighths, as cv2.polylines takes them."""
    lines = leaflet_lines(
        scene.leaflets, scene.ventricle, scene.right, scene.c, scene.opening
    )
    shape = lines.shape[:-1]
    flat = lines.reshape(shape[0], -1, 2)
    x, y = scene.pose.to_image(flat[..., 0], flat[..., 1])
    beam, depth = machine.to_polar(scene.scanner, x, y)
    points = np.stack([beam, depth], axis=-1).reshape(*shape, 2)
    return np.round(points * 8.0).astype(np.int32)


def _turn(scene: Scene, rng: np.random.Generator) -> FloatArray:
    """Angle (T,) between the two scatterer textures: with contraction, plus a slow drift."""
    n_frames = len(scene.c)
    drift = np.cumsum(rng.standard_normal(n_frames)) * 0.05
    return scene.scanner.texture_turn * scene.c / max(float(scene.c.max()), 0.1) + drift


def _second_slice(shape: tuple[int, int], rng: np.random.Generator) -> Float32:
    """Amplitude ratio (rows, columns) of the neighbouring slice: its bright patches lie elsewhere."""
    return (10.0 ** (4.0 / 20.0 * anatomy.smooth_field(rng, shape, (12.0, 10.0)))).astype(np.float32)


def _shimmer(rng: np.random.Generator) -> Float32:
    """Echo strength (N_DEPTHS, N_BEAMS) of thin leaflets: bright where they face the beam."""
    field = anatomy.smooth_field(rng, (N_DEPTHS, N_BEAMS), (6.0, 5.0))
    return np.clip(0.75 + 0.5 * field, 0.12, 1.8)


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames (T, 112, 112) uint8 of the scene, without the overlay's tint."""
    scanner, n_frames = scene.scanner, len(scene.c)
    amplitude = anatomy.echo_amplitude(scene.ventricle, scene.right, scene.levels, rng)
    scatter = rng.standard_normal((2, *amplitude.shape, 2), dtype=np.float32)
    textures = scatter * amplitude[None, :, :, None]
    textures[1] *= _second_slice(amplitude.shape, rng)[..., None]
    heart = np.arctan2(
        np.mean(scene.pose.apex_x) + 0.5 * scene.ventricle.length * np.mean(scene.pose.tilt)
        - scanner.apex_x,
        np.mean(scene.pose.apex_y) + 0.5 * scene.ventricle.length - scanner.apex_y,
    )
    gain = machine.gain_field(scanner, float(heart), rng)[..., None].repeat(2, axis=2)
    static = machine.clutter(rng, scene.levels.background)
    noise_bank = rng.standard_normal(
        (N_DEPTHS + _NOISE_MARGIN, N_BEAMS + _NOISE_MARGIN, 2), dtype=np.float32
    ) * np.float32(10.0 ** (scanner.noise / 20.0))
    shifts = rng.integers(0, _NOISE_MARGIN, (n_frames, 2))
    valve_db = scene.levels.septum + rng.uniform(-9.0, -1.0)
    valve = (10.0 ** (valve_db / 20.0) / 255.0 * 1.5 * _shimmer(rng)).astype(np.float32)
    turn, leaflets = _turn(scene, rng), leaflet_points(scene)
    maps = machine.scan_maps(scanner)
    mark = machine.overlay(scanner, rng)
    kernels = [cv2.getGaussianKernel(7, s, cv2.CV_32F) for s in (scanner.lateral_sigma, scanner.axial_sigma)]
    table = _grey_table(scanner)
    frames = np.empty((n_frames, machine.SIZE, machine.SIZE), np.uint8)
    drawn = np.empty((N_DEPTHS, N_BEAMS), np.uint8)
    for start in range(0, n_frames, _CHUNK):
        coarse = texture_maps(scene, slice(start, start + _CHUNK))
        for t in range(start, min(start + _CHUNK, n_frames)):
            mixed = cv2.addWeighted(textures[0], np.cos(turn[t]), textures[1], np.sin(turn[t]), 0)
            field = cv2.remap(
                mixed, fine_map(coarse[t - start]), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
            drawn[:] = 0
            cv2.polylines(drawn, list(leaflets[t, 2:]), False, 130, 1, cv2.LINE_AA, 3)
            cv2.polylines(drawn, list(leaflets[t, :2]), False, 255, 1, cv2.LINE_AA, 3)
            field[..., 0] += drawn * valve
            field += static
            row, column = shifts[t]
            field *= gain
            field += noise_bank[row : row + N_DEPTHS, column : column + N_BEAMS]
            field = cv2.sepFilter2D(field, -1, kernels[0], kernels[1])
            level = cv2.log(cv2.magnitude(field[..., 0], field[..., 1]))
            grey = cv2.convertScaleAbs(np.maximum(level, -table[0], out=level), alpha=table[1], beta=table[0] * table[1])
            frame = cv2.remap(grey, maps[0], maps[1], cv2.INTER_LINEAR)
            np.maximum(cv2.LUT(frame, table[2]), mark, out=frames[t])
    return frames


def _grey_table(scanner: Scanner) -> tuple[float, float, NDArray[np.uint8]]:
    """Offset and slope from log amplitude to 0..255 grey, and the gamma table behind them."""
    floor = scanner.dynamic_range / 20.0 * np.log(10.0)
    ramp = np.arange(256) / 255.0
    return float(floor), float(255.0 / floor), np.round(255.0 * ramp**scanner.gamma).astype(np.uint8)
