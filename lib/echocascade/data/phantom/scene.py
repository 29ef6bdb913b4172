"""What is drawn in a clip, and where each sample of the polar grid lies in its tissue."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom import machine
from echocascade.data.phantom.anatomy import Levels
from echocascade.data.phantom.canvas import TEXEL, U_LOW, V_LOW
from echocascade.data.phantom.geometry import Pose, Ventricle
from echocascade.data.phantom.machine import COARSE, Scanner
from echocascade.data.phantom.motion import (
    Leaflets,
    RightHeart,
    leaflet_lines,
    material_coordinates,
)

Float32 = NDArray[np.float32]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """All that is drawn in one clip; c and opening are (T,): contraction, valve opening."""

    ventricle: Ventricle
    right: RightHeart
    leaflets: Leaflets
    levels: Levels
    scanner: Scanner
    pose: Pose
    c: FloatArray
    opening: FloatArray
    fps: int


def texture_maps(scene: Scene, part: slice) -> Float32:
    """Texel coordinates (T, rows, columns, 2) of the coarse polar nodes for frames `part`."""
    points, grid = machine.polar_points(scene.scanner)
    u, v = material_coordinates(
        scene.ventricle, scene.right, scene.pose.at(part), scene.c[part], points
    )
    scale = np.float32(1.0 / TEXEL)
    texels = np.empty((*u.shape, 2), np.float32)
    texels[..., 0] = (u - np.float32(U_LOW)) * scale
    texels[..., 1] = (v - np.float32(V_LOW)) * scale
    return texels.reshape(-1, *grid, 2)


def fine_map(coarse: Float32) -> Float32:
    """The texel map (N_DEPTHS, N_BEAMS, 2) of every polar sample from that of the coarse nodes."""
    full = cv2.resize(
        coarse, (coarse.shape[1] * COARSE, coarse.shape[0] * COARSE), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(full, np.float32)[COARSE:-COARSE, COARSE:-COARSE]


def leaflet_points(scene: Scene) -> NDArray[np.int32]:
    """Leaflets as polar sample coordinates (T, 4, P, 2) in eighths, as cv2.polylines takes them."""
    lines = leaflet_lines(scene.leaflets, scene.ventricle, scene.right, scene.c, scene.opening)
    shape = lines.shape[:-1]
    flat = lines.reshape(shape[0], -1, 2)
    x, y = scene.pose.to_image(flat[..., 0], flat[..., 1])
    beam, depth = machine.to_polar(scene.scanner, x, y)
    points = np.stack([beam, depth], axis=-1).reshape(*shape, 2)
    return np.round(points * 8.0).astype(np.int32)
