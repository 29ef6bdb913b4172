"""The left ventricle's shape and contraction, in closed form.

Heart coordinates (u, v) are in pixels of the final image: v runs along the long axis from the
apex (0) to the middle of the mitral annulus, u across it towards the lateral wall. At
end-diastole the cavity spans |u| <= r(v) around a gently bent middle line. A scalar contraction c
(0 at end-diastole) shortens the long axis by lambda(c) and narrows the cavity at the material
height x = V / L0 by rho(x, c) = 1 - c a(x). Volumes are those of the method of disks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

N_DISKS = 20


@dataclass(frozen=True)
class Ventricle:
    """Shape of the left ventricle (lengths in pixels) and how it contracts.

    length: long axis at end-diastole; radius: largest half width; widest: height of it as a share
    of the length; apex_power: 2 an ellipse, more a blunter apex; base_ratio: annulus half width /
    radius; bend: sideways arc of the middle line; longitudinal: share of c that shortens the long
    axis; apex_bias: > 0 where the apex contracts more than the base.
    """

    length: float
    radius: float
    widest: float
    apex_power: float
    base_ratio: float
    bend: float
    longitudinal: float
    apex_bias: float

    def radius_squared(self, x: FloatArray) -> FloatArray:
        """Squared half width (px^2) at material height x = V / length; 0 at and above the apex."""
        up = 1.0 - np.abs(1.0 - np.clip(x, 0.0, self.widest) / self.widest) ** self.apex_power
        down = (np.maximum(x, self.widest) - self.widest) / (1.0 - self.widest)
        return self.radius**2 * (up - (1.0 - self.base_ratio**2) * down**2)

    def contractility(self, x: FloatArray) -> FloatArray:
        """Regional weight a(x) of the contraction; the fibrous annulus follows only partly."""
        x = np.clip(x, 0.0, 1.0)
        return (1.0 + self.apex_bias * (1.0 - 2.0 * x)) * (1.0 - 0.4 * x**6)

    def shortening(self, c: FloatArray) -> FloatArray:
        """Long axis at contraction c over that at end-diastole."""
        return 1.0 - self.longitudinal * c * (1.0 - 0.4 * c)

    def centre(self, x: FloatArray) -> FloatArray:
        """Sideways offset (px) of the middle line at relative height x, 0 at apex and annulus."""
        return self.bend * np.sin(np.pi * np.clip(x, 0.0, 1.0))

    def volume(self, c: FloatArray) -> FloatArray:
        """Method-of-disks volume (px^3) at contraction c (any shape)."""
        x = (np.arange(N_DISKS) + 0.5) / N_DISKS
        c = np.asarray(c, dtype=np.float64)
        rho = 1.0 - c[..., None] * self.contractility(x)
        area = (np.pi * self.radius_squared(x) * rho**2).sum(-1)
        return area * self.length * self.shortening(c) / N_DISKS

    def contraction(self, volume_ratio: FloatArray) -> FloatArray:
        """The c at which volume / end-diastolic volume is `volume_ratio` (0.05..1)."""
        limit = 0.95 / self.contractility(np.linspace(0, 1, 64)).max()
        c_table = np.linspace(0.0, min(limit, 0.9), 513)
        v_table = self.volume(c_table) / self.volume(np.zeros(()))
        c = np.interp(volume_ratio, v_table[::-1], c_table[::-1])
        for _ in range(2):
            slope = (self.volume(c + 1e-5) - self.volume(c - 1e-5)) / 2e-5
            c = c - (self.volume(c) - volume_ratio * self.volume(np.zeros(()))) / slope
        return np.clip(c, 0.0, c_table[-1])


@dataclass(frozen=True)
class Pose:
    """Where the heart lies in the image at each frame; every field has shape (T,).

    apex_x, apex_y: pixels; tilt: radians, positive turns the base towards image right.
    """

    apex_x: FloatArray
    apex_y: FloatArray
    tilt: FloatArray

    def at(self, frames: NDArray[np.int64] | slice) -> "Pose":
        """The pose at some of the frames."""
        return Pose(self.apex_x[frames], self.apex_y[frames], self.tilt[frames])

    def to_image(self, u: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Heart coordinates (T, N) to image x (right) and y (down), each (T, N)."""
        cos, sin = np.cos(self.tilt)[:, None], np.sin(self.tilt)[:, None]
        x = self.apex_x[:, None] + u * cos + v * sin
        y = self.apex_y[:, None] - u * sin + v * cos
        return x, y


def draw_ventricle(rng: np.random.Generator, lvef_percent: float) -> Ventricle:
    """A ventricle: dilated and rounder when LVEF is low, sometimes foreshortened."""
    weak = np.clip((50.0 - lvef_percent) / 40.0, 0.0, 1.0)
    foreshortened = rng.random() < 0.12
    length = np.clip(rng.normal(52.0 + 3.0 * weak, 4.5), 42.0, 62.0) * (
        0.86 if foreshortened else 1
    )
    sphericity = np.clip(rng.normal(0.54 + 0.1 * weak, 0.055), 0.4, 0.74)
    if foreshortened:
        sphericity *= 1.12
    return Ventricle(
        length=float(length),
        radius=float(length * sphericity / 2),
        widest=float(rng.uniform(0.5, 0.66)),
        apex_power=float(rng.uniform(2.1, 3.0) + (0.5 if foreshortened else 0.0)),
        base_ratio=float(rng.uniform(0.66, 0.86)),
        bend=float(rng.normal(1.6, 1.4)),
        longitudinal=float(rng.uniform(0.38, 0.62)),
        apex_bias=float(rng.uniform(-0.12, 0.12)) * (1.6 if lvef_percent < 45 else 0.8),
    )
