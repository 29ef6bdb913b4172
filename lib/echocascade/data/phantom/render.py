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
from echocascade.data.phantom.canvas import smooth_field
from echocascade.data.phantom.machine import N_BEAMS, N_DEPTHS, SIZE, Scanner
from echocascade.data.phantom.scene import Scene, fine_map, leaflet_points, texture_maps

Float32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]

# Frames warped at a time: the coordinate arrays then stay in the processor's cache.
_CHUNK = 24
_NOISE_MARGIN = 48
_PATCHINESS = 3.0  # dB, standard deviation of a slice's gain over the tissue
# Scanners compound: the envelopes of a strong and a weak look are added, so that speckle has
# the contrast of between one look and two. Each look is a pair of channels, real and imaginary.
_LOOKS = np.repeat(np.array([0.85, 0.35], np.float32), 2)


@dataclass(frozen=True)
class _Plates:
    """The fields of one patient that stay the same in all frames.

    textures (2, rows, columns, 4): scatterers in two neighbouring slices; gain (D, B, 4); static
    (D, B, 4): clutter, gain applied; glow (D, B); noise (D + margin, B + margin, 4); valve (D, B):
    echo of a leaflet, per grey level of its drawing. D depths, B beams.
    """

    textures: Float32
    gain: Float32
    static: Float32
    glow: Float32
    noise: Float32
    valve: Float32


def _plates(scene: Scene, rng: np.random.Generator) -> _Plates:
    amplitude = anatomy.echo_amplitude(scene.ventricle, scene.right, scene.levels, rng)
    textures = rng.standard_normal((2, *amplitude.shape, 4), dtype=np.float32)
    textures *= amplitude[None, :, :, None]
    # The bright patches of the neighbouring slice lie elsewhere. Both slices are as patchy and as
    # bright as each other in the mean: the heart must not light up where it turns to another.
    patches = _PATCHINESS * smooth_field(rng, amplitude.shape, (7.0, 10.0))
    excess = np.float32(_PATCHINESS**2 * np.log(10.0) / 20.0)
    textures[0] *= _gain(-patches - excess)[..., None]
    textures[1] *= _gain(patches - excess)[..., None]
    scanner = scene.scanner
    field = machine.gain_field(scanner, _heart_angle(scene), rng)
    gain = field[..., None] * _LOOKS
    noise_shape = (N_DEPTHS + _NOISE_MARGIN, N_BEAMS + _NOISE_MARGIN, 4)
    noise = rng.standard_normal(noise_shape, dtype=np.float32) * (
        _LOOKS * np.float32(10.0 ** (scanner.noise / 20.0))
    )
    facing = np.clip(0.75 + 0.5 * smooth_field(rng, field.shape, (6.0, 5.0)), 0.12, 1.8)
    valve_db = scene.levels.septum + rng.uniform(-8.0, 0.0)
    return _Plates(
        textures=textures,
        gain=gain,
        static=machine.clutter(rng, scene.levels.background) * gain,
        glow=machine.haze(rng, scene.levels.background) * field,
        noise=noise,
        valve=(10.0 ** (valve_db / 20.0) * 1.5 / 255.0 * facing).astype(np.float32),
    )


def _gain(db: Float32) -> Float32:
    return np.exp(db * np.float32(np.log(10.0) / 20.0))


def _heart_angle(scene: Scene) -> float:
    """Direction (rad) of the middle of the left ventricle from the tip of the sector."""
    middle = np.full((len(scene.c), 1), 0.5 * scene.ventricle.length)
    x, y = scene.pose.to_image(np.zeros_like(middle), middle)
    return float(np.arctan2(x.mean() - scene.scanner.apex_x, y.mean() - scene.scanner.apex_y))


def _turn(scene: Scene, rng: np.random.Generator) -> FloatArray:
    """Angle (T,) between the two scatterer textures: with contraction, plus a slow drift."""
    knots = np.cumsum(rng.standard_normal(len(scene.c) // 4 + 3)) * 1.0
    drift = np.interp(np.arange(len(scene.c)) / scene.fps * 8.0, np.arange(len(knots)), knots)
    return scene.scanner.texture_turn * scene.c / max(float(scene.c.max()), 0.1) + drift


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames (T, 112, 112) uint8 grey of the scene, before the machine's tint."""
    n_frames = len(scene.c)
    plates = _plates(scene, rng)
    shifts = rng.integers(0, _NOISE_MARGIN, (n_frames, 2))
    turn = _turn(scene, rng)
    leaflets = leaflet_points(scene)
    display = _Display(scene.scanner, machine.overlay(scene.scanner, rng))
    frames = np.empty((n_frames, SIZE, SIZE), np.uint8)
    for start in range(0, n_frames, _CHUNK):
        coarse = texture_maps(scene, slice(start, start + _CHUNK))
        for t in range(start, min(start + _CHUNK, n_frames)):
            field = _echoes(plates, fine_map(coarse[t - start]), turn[t], leaflets[t])
            row, column = shifts[t]
            field += plates.noise[row : row + N_DEPTHS, column : column + N_BEAMS]
            display.show(field, plates.glow, frames[t])
    return frames


def _echoes(plates: _Plates, texels: Float32, turn: float, leaflets: NDArray[np.int32]) -> Float32:
    """Complex echoes (D, B, 4) of tissue, leaflets and clutter of one frame, gain applied.

    texels (D, B, 2): where in the textures each sample lies; leaflets (4, P, 2): see
    `leaflet_points`.
    """
    slices = plates.textures
    mixed = cv2.addWeighted(slices[0], np.cos(turn), slices[1], np.sin(turn), 0)
    # The stubs know no form with one map of both coordinates, which is the fastest.
    moved = cv2.remap(  # type: ignore[call-overload]
        mixed, texels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    field = np.asarray(moved)
    drawn = np.zeros((N_DEPTHS, N_BEAMS), np.uint8)
    cv2.polylines(drawn, list(leaflets[2:]), False, 130, 1, cv2.LINE_AA, 3)
    cv2.polylines(drawn, list(leaflets[:2]), False, 255, 1, cv2.LINE_AA, 3)
    field[..., 0] += drawn * plates.valve
    field *= plates.gain
    field += plates.static
    return field


class _Display:
    """From complex echoes to a frame: point spread, envelope, log compression, scan conversion."""

    def __init__(self, scanner: Scanner, mark: NDArray[np.uint8]) -> None:
        self._mark, self._maps = mark, machine.scan_maps(scanner)
        self._lateral = cv2.getGaussianKernel(7, scanner.lateral_sigma, cv2.CV_32F)
        self._axial = cv2.getGaussianKernel(5, scanner.axial_sigma, cv2.CV_32F)
        self._floor = scanner.dynamic_range / 20.0 * np.log(10.0)
        ramp = np.arange(256) / 255.0
        self._table = np.round(255.0 * ramp**scanner.gamma).astype(np.uint8)

    def show(self, field: Float32, glow: Float32, out: NDArray[np.uint8]) -> None:
        """Write the frame (112, 112) of the field (D, B, 4) and the incoherent glow (D, B)."""
        field = np.asarray(cv2.sepFilter2D(field, -1, self._lateral, self._axial))
        looks = np.abs(field.view(np.complex64))
        level = cv2.log(looks[..., 0] + looks[..., 1] + glow)
        level = np.maximum(level, np.float32(-self._floor))
        slope = 255.0 / self._floor
        grey = cv2.convertScaleAbs(level, alpha=slope, beta=self._floor * slope)
        frame = cv2.remap(grey, self._maps[0], self._maps[1], cv2.INTER_LINEAR)
        np.maximum(cv2.LUT(frame, self._table), self._mark, out=out)
