"""The sheet that anatomy is painted on: material coordinates, distances to the cavities, noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom.geometry import Ventricle
from echocascade.data.phantom.motion import RightHeart

Float32 = NDArray[np.float32]
FloatLike = NDArray[np.floating]

# One texel in pixels, and the painted range of material coordinates in pixels.
TEXEL = 0.8
U_LOW, U_HIGH, V_LOW, V_HIGH = -76.0, 66.0, -24.0, 102.0


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]
) -> Float32:
    """A smooth random field of unit variance, correlated over `cell` = (rows, columns) samples."""
    small = (max(3, int(shape[0] / cell[0]) + 2), max(3, int(shape[1] / cell[1]) + 2))
    coarse = rng.standard_normal(small, dtype=np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(1.25)


def material_grid() -> tuple[Float32, Float32]:
    """Material coordinates U (columns) and V (rows) of the texels, as broadcastable axes."""
    u = np.arange(U_LOW, U_HIGH, TEXEL, dtype=np.float32)[None, :]
    v = np.arange(V_LOW, V_HIGH, TEXEL, dtype=np.float32)[:, None]
    return u, v


def cover(distance: FloatLike, softness: FloatLike | float = 0.7) -> Float32:
    """Coverage 0..1 of a layer from the signed distance (px) to its edge, negative inside."""
    return np.clip(0.5 - distance / (2 * softness), 0.0, 1.0).astype(np.float32)


class Canvas:
    """The dB image being painted, with the coordinates and fields that all layers share."""

    def __init__(self, ventricle: Ventricle, right: RightHeart, rng: np.random.Generator) -> None:
        self.ventricle, self.right, self.rng = ventricle, right, rng
        self.u, self.v = material_grid()
        self.shape = (self.v.shape[0], self.u.shape[1])
        self.x = self.v / np.float32(ventricle.length)
        self.fine = smooth_field(rng, self.shape, (3.5, 3.0))
        self.patch = smooth_field(rng, self.shape, (9.0, 12.0))
        self.broad = smooth_field(rng, self.shape, (24.0, 34.0))
        self.db = np.zeros(self.shape, np.float32)
        self.lv = self._lv_distance()
        self.rv, self.rv_height = self._rv_distance()
        self.la, self.ra = self._atrial_distances()

    def _rv_distance(self) -> tuple[Float32, Float32]:
        """Signed distance (px) to the right ventricle's cavity, and height 0 (apex) to 1 (base)."""
        right, ventricle = self.right, self.ventricle
        height = np.clip((self.x - right.rv_apex) / (1.0 - right.rv_apex), 0.0, 1.0)
        inner = -np.sqrt(ventricle.radius_squared(np.clip(self.x, 0, 1))) - right.septum
        outer = inner - right.rv_width * np.sqrt(height)
        inside = np.maximum(self.u - inner, outer - self.u)
        base = self.v - ventricle.length + right.tricuspid_offset
        return np.maximum(inside, base).astype(np.float32), height.astype(np.float32)

    def _atrial_distances(self) -> tuple[Float32, Float32]:
        """Signed distances (px) to the left and right atrium, open towards the ventricles."""
        right, length = self.right, self.ventricle.length
        septum_u = self.atrial_septum
        la_u, ra_u = septum_u + 1.5 + right.la_half, septum_u - 1.5 - right.ra_half
        la_v, ra_v = length + right.la_length * 0.47, length + right.ra_length * 0.47
        la = self.ellipse(la_u, la_v, right.la_half, right.la_length * 0.56) + 1.3 * self.patch
        ra = self.ellipse(ra_u, ra_v, right.ra_half, right.ra_length * 0.56) + 1.3 * self.patch
        return la, ra

    @property
    def atrial_septum(self) -> float:
        """Across-coordinate (px) of the septum between the atria."""
        return -self.ventricle.radius * self.ventricle.base_ratio - self.right.septum / 2

    def _lv_distance(self) -> Float32:
        """Signed distance (px) to the endocardium, negative in the cavity, open at the annulus."""
        x = self.x.astype(np.float64)
        radius2 = self.ventricle.radius_squared(np.clip(x, 0.0, 1.0))
        apical = self.ventricle.apex_power / self.ventricle.widest * self.ventricle.radius**2
        radius2 = np.where(x < 0, apical * x, radius2)
        step = 0.01
        slope = np.where(
            x < 0,
            apical,
            self.ventricle.radius_squared(np.clip(x + step, 0, 1))
            - self.ventricle.radius_squared(np.clip(x, 0, 1 - step)),
        )
        slope = np.where(x < 0, slope, slope / step) / self.ventricle.length
        u2 = self.u.astype(np.float64) ** 2
        return ((u2 - radius2) / np.sqrt(4 * u2 + slope**2 + 4.0)).astype(np.float32)

    def paint(self, coverage: Float32, level: Float32 | float) -> None:
        """Blend the level (dB) over what is there."""
        self.db = (self.db + coverage * (level - self.db)).astype(np.float32)

    def ellipse(self, u: float, v: float, half_u: float, half_v: float) -> Float32:
        """Signed distance (px, approximate) to an ellipse."""
        radial = np.sqrt(((self.u - u) / half_u) ** 2 + ((self.v - v) / half_v) ** 2)
        return ((radial - 1.0) * min(half_u, half_v)).astype(np.float32)
