"""The parameters of a run: one YAML file, one schema, frozen once loaded.

A file may name a `base` file beside it and change only what differs. Every error names the key,
what was found and what is allowed; an unknown key names the nearest valid one.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Role = Literal["base", "TSR", "SSR", "TSSR"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class ParamsError(ValueError):
    """A parameter file or an override that is not valid."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhantomParams(Section):
    """The phantom data set that is made when `data.root` is `phantom`."""

    clips: Positive = 1500
    seed: int = 0
    lvef: Literal["echonet", "uniform", "mixed"] = "echonet"
    uniform_share: Fraction = 0.5
    duration_s: tuple[float, float] | None = None


class DataParams(Section):
    root: Annotated[str, Field(min_length=1)] = "phantom"
    phantom: PhantomParams = PhantomParams()
    channels: Literal[1, 3] = 1
    pad: Literal["black", "repeat", "mirror"] = "mirror"
    on_error: Literal["stop", "skip"] = "stop"


class NetworkParams(Section):
    """Sizes of a stage's U-Net, see `nets.video_unet.UNetConfig`."""

    base_channels: Positive = 64
    channel_multipliers: tuple[Positive, ...] = (1, 2, 4)
    blocks_per_level: Positive = 2
    middle_blocks: Positive = 2
    patch: Literal[1, 2, 4, 8] = 1
    full_resolution_channels: Annotated[int, Field(ge=0)] = 0
    temporal_attention: tuple[int, ...] = (1, 2)
    spatial_attention: tuple[int, ...] = (2,)
    attention_heads: Positive = 4


class TrainingParams(Section):
    steps: Positive
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    batch_size: Positive = 32
    accumulate: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    decay_from: Fraction = 0.7
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    ema_gamma: Annotated[float, Field(gt=0)] = 16.0
    P_mean: float = -1.2
    P_std: Annotated[float, Field(gt=0)] = 1.2
    image_only: Fraction = 0.25
    drop_condition: Fraction = 0.1
    sigma_aug_max: Annotated[float, Field(ge=0)] = 0.2
    crop: Positive | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    validate_clips: Positive = 64
    validate_times: Positive = 8


class SamplerParams(Section):
    """How one stage is sampled (Karras22 Alg. 2; Lu22 for dpmpp_2m)."""

    method: Literal["heun", "dpmpp_2m"] = "heun"
    steps: Annotated[int, Field(ge=2)] = 32
    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    rho: Annotated[float, Field(gt=0)] = 7.0
    S_churn: Annotated[float, Field(ge=0)] = 0.0
    S_tmin: Annotated[float, Field(ge=0)] = 0.05
    S_tmax: Annotated[float, Field(gt=0)] = 50.0
    S_noise: Annotated[float, Field(gt=0)] = 1.003
    sigma_aug: Annotated[float, Field(ge=0)] = 0.1


class StageParams(Section):
    name: RunName
    size: Positive
    n_frames: Positive
    fps: Positive
    target: Literal["video", "residual"] = "video"
    sigma_data: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    network: NetworkParams = NetworkParams()
    training: TrainingParams
    sampler: SamplerParams = SamplerParams()

    @property
    def duration_s(self) -> float:
        return self.n_frames / self.fps

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        side = self.network.patch * 2 ** (len(self.network.channel_multipliers) - 1)
        for what, value in (("size", self.size), ("training.crop", self.training.crop)):
            if value is not None and value % side:
                raise ValueError(
                    f"{what} {value} is not a multiple of {side} "
                    "(network.patch x 2^(levels - 1)), which the U-Net needs"
                )
        return self


class GuidanceParams(Section):
    """Classifier-free guidance of the first stage; `auto` chooses the scale on validation clips."""

    scale: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    candidates: tuple[float, ...] = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    sigma_interval: tuple[float, float] | None = None
    apply_to: Literal["first", "all"] = "first"
    clips: Positive = 64


class CascadeParams(Section):
    stages: tuple[StageParams, ...] = Field(min_length=1)
    guidance: GuidanceParams = GuidanceParams()

    @model_validator(mode="after")
    def _chain(self) -> Self:
        names = [s.name for s in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stage names must differ, found {', '.join(names)}")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if abs(before.duration_s - after.duration_s) > 1e-9:
                raise ValueError(
                    f"stage {after.name} lasts {after.duration_s:g} s but {before.name} lasts "
                    f"{before.duration_s:g} s; n_frames / fps must agree along the cascade"
                )
            if after.size % before.size or after.n_frames % before.n_frames:
                raise ValueError(
                    f"stage {after.name} ({after.size} px, {after.n_frames} frames) must be a "
                    f"whole multiple of {before.name} ({before.size} px, {before.n_frames} frames)"
                )
            if (after.size, after.n_frames) == (before.size, before.n_frames):
                raise ValueError(f"stage {after.name} neither enlarges nor refines {before.name}")
        return self

    def role(self, index: int) -> Role:
        """base, TSR (time), SSR (space) or TSSR (both), from the neighbour before."""
        if index == 0:
            return "base"
        before, stage = self.stages[index - 1], self.stages[index]
        if stage.size == before.size:
            return "TSR"
        return "SSR" if stage.n_frames == before.n_frames else "TSSR"

    def index(self, name: str) -> int:
        names = [s.name for s in self.stages]
        if name not in names:
            raise ParamsError(
                f"stage {name!r} is not in this run; its stages are {', '.join(names)}"
            )
        return names.index(name)


class RegressorParams(Section):
    """The LVEF regressor; it judges at the size of the last stage unless told otherwise."""

    preset: Literal["tiny", "small", "r2plus1d_18"] = "small"
    size: Positive
    n_frames: Positive
    fps: Positive
    steps: Positive
    batch_size: Positive = 16
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    weights: str | None = None


class EvaluationParams(Section):
    """The counterfactual protocol (FACTS Sec. 4). `split` is where results are reported."""

    split: Literal["TRAIN", "VAL", "TEST"] = "TEST"
    clips: Positive = 64
    draws: Positive = 3
    batch_size: Positive = 16
    lvef_percent: tuple[Percent, Percent] = (15.0, 85.0)
    bootstrap: Positive = 2000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Params(Section):
    name: RunName
    title: str = ""
    seed: int = 0
    workers: Positive = 2
    data: DataParams = DataParams()
    regressor: RegressorParams
    cascade: CascadeParams
    evaluation: EvaluationParams = EvaluationParams()
    weights_dir: str = "weights"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, size, fps in [
            *((f"stage {s.name}", s.size, s.fps) for s in self.cascade.stages),
            ("regressor", self.regressor.size, self.regressor.fps),
        ]:
            if self.store_size % size or self.store_fps % fps:
                raise ValueError(
                    f"{what} ({size} px, {fps} fps) must divide the largest stage "
                    f"({self.store_size} px, {self.store_fps} fps)"
                )
        if self.cascade.guidance.scale == "auto" and self.evaluation.split == "VAL":
            raise ValueError(
                "cascade.guidance.scale is auto, which is chosen on VAL, and evaluation.split is "
                "VAL too: choose TEST, or give a number as scale"
            )
        return self

    @property
    def store_size(self) -> int:
        """Pixels per side that clips are stored at: the largest that anything needs."""
        return max(self.regressor.size, *(s.size for s in self.cascade.stages), 1)

    @property
    def store_fps(self) -> int:
        return max(self.regressor.fps, *(s.fps for s in self.cascade.stages), 1)

    @property
    def is_phantom(self) -> bool:
        return self.data.root == "phantom"

    def select(self, path: str) -> Any:
        """The value at a dotted path; stages are addressed by name: `cascade.stages.base`."""
        node: Any = self.model_dump(mode="json")
        for key in path.split("."):
            node = node[_position(node, key, path)]
        return node

    def digest(self, *paths: str) -> str:
        """A short hash of the values at `paths`: what a step depends on, nothing else."""
        chosen = {path: self.select(path) for path in paths}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]

    def dump_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_params(path: str | Path, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Params:
    """Read, override and validate.

    Args:
        path: YAML file; its optional key `base` names another file to start from.
        overrides: `{"cascade.stages.base.training.steps": 10}` or `["seed=3"]` (YAML values).

    Raises:
        ParamsError: with one line per problem.
    """
    tree = _read_tree(Path(path), ())
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(_parse, overrides)
    for key, value in pairs:
        _assign(tree, key, value)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise ParamsError("\n".join(f"{path}: {line}" for line in lines)) from None


def _read_tree(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise ParamsError(f"{path}: no such params file")
    if path.resolve() in seen:
        raise ParamsError(f"{path}: `base` leads back to this file")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{path}: expected keys and values, found {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    below = _read_tree(path.parent / str(base), (*seen, path.resolve()))
    return _merge(below, tree)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; stages are matched by their name, in `above`'s order."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged[key] = _merge(old, value)
        elif key == "stages" and isinstance(old, list) and isinstance(value, list):
            named = {s.get("name"): s for s in old if isinstance(s, dict)}
            merged[key] = [
                _merge(named.get(s.get("name"), {}), s) if isinstance(s, dict) else s for s in value
            ]
        else:
            merged[key] = value
    return merged


def _parse(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ParamsError(f"override {text!r}: expected key=value")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ParamsError(f"override {text!r}: the value is not valid YAML") from None


def _position(node: Any, key: str, path: str) -> Any:
    """The key or list index that `key` means inside `node`."""
    if isinstance(node, dict) and key in node:
        return key
    if isinstance(node, list):
        names = [item.get("name") if isinstance(item, dict) else None for item in node]
        if key in names:
            return names.index(key)
        if key.isdigit() and int(key) < len(node):
            return int(key)
        raise ParamsError(f"{path}: no entry {key!r}; there are {', '.join(map(str, names))}")
    known = node.keys() if isinstance(node, dict) else ()
    raise ParamsError(f"{path}: no key {key!r}{_nearest(key, known)}")


def _assign(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a value; keys that the file leaves to their defaults are made on the way."""
    *parents, last = path.split(".")
    node: Any = tree
    for key in parents:
        if isinstance(node, dict):
            node = node.setdefault(key, {})
        else:
            node = node[_position(node, key, path)]
    if not isinstance(node, dict):
        node[_position(node, last, path)] = value
    else:
        node[last] = value


def _nearest(key: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; allowed here: {', '.join(known)}" if known else ""


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """The valid keys of the section at `location`, by walking the schema."""
    model: Any = Params
    for key in location:
        if isinstance(key, int):
            continue
        field = getattr(model, "model_fields", {}).get(key)
        if field is None:
            return []
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((k for k in kinds if isinstance(k, type) and issubclass(k, Section)), None)
    return list(getattr(model, "model_fields", {}))


def _explain(error: Any) -> str:
    location = tuple(k for k in error["loc"] if not (isinstance(k, str) and "[" in k))
    name = ".".join(map(str, location)) or "this file"
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown key{_nearest(str(location[-1]), _fields_at(location[:-1]))}"
    if error["type"] == "missing":
        return f"{name}: this key is required"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{name}: {message}"
    return f"{name}: found {error['input']!r}; {message[0].lower()}{message[1:]}"
