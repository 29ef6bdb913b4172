"""One phantom clip: patient, rhythm, scanner and pose drawn from (seed, index), then rendered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echocascade.data.phantom import anatomy, geometry, machine, motion, physiology, tracings
from echocascade.data.phantom.geometry import Pose, Ventricle
from echocascade.data.phantom.render import render
from echocascade.data.phantom.scene import Scene
from echocascade.rng import numpy_generator

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ClipFacts:
    """What is known about a clip.

    tracings (2, 21, 4) pixels, end-diastole then end-systole: X1, Y1, X2, Y2, long axis first;
    tint 0..1: share of blue that a sepia machine takes away.
    """

    fps: int
    n_frames: int
    lvef_percent: float
    esv_ml: float
    edv_ml: float
    ed_frame: int
    es_frame: int
    tracings: FloatArray
    tint: float


@dataclass(frozen=True)
class PhantomClip:
    """A clip: frames (T, 112, 112, 1) uint8 grey, volume_fraction (T,) from 0 at end-systole to 1
    at end-diastole, its facts, and the scene that was drawn."""

    frames: NDArray[np.uint8]
    volume_fraction: FloatArray
    facts: ClipFacts
    scene: Scene

    @property
    def fps(self) -> int:
        """Frames per second."""
        return self.facts.fps

    @property
    def lvef_percent(self) -> float:
        """LVEF of the drawn geometry by the method of disks, in percent."""
        return self.facts.lvef_percent

    @property
    def esv_ml(self) -> float:
        """End-systolic volume in ml."""
        return self.facts.esv_ml

    @property
    def edv_ml(self) -> float:
        """End-diastolic volume in ml."""
        return self.facts.edv_ml

    @property
    def tracings(self) -> FloatArray:
        """The tracings (2, 21, 4); see `ClipFacts`."""
        return self.facts.tracings


@dataclass(frozen=True)
class ClipOptions:
    """What the clips of a phantom are drawn from; see `make_phantom`."""

    lvef: str = "echonet"
    uniform_share: float = 0.5
    duration_s: tuple[float, float] | None = None


def _draw_pose(
    rng: np.random.Generator,
    ventricle: Ventricle,
    scanner: machine.Scanner,
    t: FloatArray,
    c: FloatArray,
) -> Pose:
    """Place the heart in the sector, let it breathe, sway with the beat and drift a little."""
    tilt = rng.normal(0.04, 0.14)
    depth = rng.uniform(6.5, 12.5) + 0.25 * max(0.0, 52.0 - ventricle.length)
    depth += 0.3 * max(0.0, ventricle.radius - 13.0)
    aside = rng.normal(2.5, 2.5)
    middle_aside = aside + 0.5 * ventricle.length * np.sin(tilt)
    aside -= 0.6 * max(0.0, middle_aside - 12.0) + 0.6 * min(0.0, middle_aside + 2.0)
    # A sonographer keeps the lateral wall in the sector: most of what sticks out is moved in.
    upper = 0.3 * ventricle.length
    room = (depth + upper) * np.tan(scanner.half_angle)
    aside -= 0.8 * max(0.0, aside + upper * np.sin(tilt) + 0.95 * ventricle.radius - room)
    breath = np.sin(2 * np.pi * (t * rng.uniform(0.15, 0.35) + rng.random()))
    sway = c * rng.uniform(0.0, 1.3)
    return Pose(
        apex_x=scanner.apex_x
        + aside
        + rng.uniform(0.0, 1.2) * breath
        + sway * rng.normal(0.0, 3.0),
        apex_y=scanner.apex_y + depth + rng.uniform(0.0, 1.6) * breath + sway * rng.uniform(-1, 3),
        tilt=tilt + rng.uniform(0.0, 0.02) * breath + sway * rng.normal(0.0, 0.12),
    )


def draw_scene(
    seed: int, index: int, options: ClipOptions
) -> tuple[Scene, physiology.Rhythm, int, FloatArray]:
    """Everything but the pixels: scene, rhythm, fps and volume fraction (T,)."""
    rng = numpy_generator(seed, "phantom/patient", index)
    lvef = physiology.draw_lvef(rng, options.lvef, options.uniform_share)
    fps = physiology.draw_fps(rng)
    n_frames = max(28, round(physiology.draw_duration_s(rng, options.duration_s) * fps))
    rhythm = physiology.draw_rhythm(rng, n_frames, fps, lvef)
    ventricle = geometry.draw_ventricle(rng, lvef)
    t = np.arange(n_frames) / fps
    fraction = physiology.volume_curve(rhythm, t)
    c = ventricle.contraction(1.0 - lvef / 100.0 * (1.0 - fraction))
    scanner = machine.draw_scanner(rng)
    scene = Scene(
        ventricle=ventricle,
        right=motion.draw_right_heart(rng, ventricle),
        leaflets=motion.draw_leaflets(rng),
        levels=anatomy.draw_levels(rng),
        scanner=scanner,
        pose=_draw_pose(rng, ventricle, scanner, t, c),
        c=c,
        opening=physiology.valve_curve(rhythm, t),
        fps=fps,
    )
    return scene, rhythm, fps, fraction


def _facts(seed: int, index: int, scene: Scene, rhythm: physiology.Rhythm, fps: int) -> ClipFacts:
    """EF, ESV and EDV from the tracings, which are the drawn geometry."""
    traced = np.array([rhythm.ed_frame, rhythm.es_frame])
    lines = tracings.trace(scene.ventricle, scene.pose.at(traced), scene.c[traced])
    edv_px, esv_px = (float(volume) for volume in tracings.disk_volume(lines))
    lvef_percent = 100.0 * (1.0 - esv_px / edv_px)
    edv_ml = physiology.draw_edv_ml(numpy_generator(seed, "phantom/volume", index), lvef_percent)
    return ClipFacts(
        fps=fps,
        n_frames=len(scene.c),
        lvef_percent=lvef_percent,
        esv_ml=edv_ml * esv_px / edv_px,
        edv_ml=edv_ml,
        ed_frame=rhythm.ed_frame,
        es_frame=rhythm.es_frame,
        tracings=lines,
        tint=scene.scanner.tint,
    )


def describe_clip(seed: int, index: int, options: ClipOptions) -> ClipFacts:
    """The facts of a clip without drawing a pixel; equal to those of `render_clip`."""
    scene, rhythm, fps, _ = draw_scene(seed, index, options)
    return _facts(seed, index, scene, rhythm, fps)


def render_clip(
    seed: int,
    index: int,
    *,
    lvef: str = "echonet",
    uniform_share: float = 0.5,
    duration_s: tuple[float, float] | None = None,
) -> PhantomClip:
    """Clip `index` of the phantom with `seed`; the arguments are those of `make_phantom`."""
    options = ClipOptions(lvef, uniform_share, duration_s)
    scene, rhythm, fps, fraction = draw_scene(seed, index, options)
    frames = render(scene, numpy_generator(seed, "phantom/pixels", index))
    return PhantomClip(
        frames=frames[..., None],
        volume_fraction=fraction,
        facts=_facts(seed, index, scene, rhythm, fps),
        scene=scene,
    )
