"""From a run's data parameters to its store: phantom made if wanted, clips decoded once."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from echocascade.data.clips import ClipStore
from echocascade.data.phantom import PHANTOM_VERSION, make_phantom
from echocascade.params import Params, ParamsError

Progress = Callable[[int, int, str], None]


def dataset_folder(params: Params, data_dir: Path) -> Path:
    """Where the run's data set lies: `data.root`, or the phantom's folder under `data_dir`."""
    if params.is_phantom:
        phantom = params.data.phantom
        facts = json.dumps([PHANTOM_VERSION, phantom.model_dump(mode="json")], sort_keys=True)
        return (
            data_dir / f"phantom-{phantom.clips}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"
        )
    root = Path(params.data.root).expanduser()
    return root if root.is_absolute() else data_dir.parent / root


def make_dataset(params: Params, data_dir: Path, progress: Progress | None = None) -> Path:
    """The data set's folder; the phantom is made, or completed, first.

    Raises:
        ParamsError: `data.root` is not a folder.
    """
    folder = dataset_folder(params, data_dir)
    if params.is_phantom:
        p = params.data.phantom
        make_phantom(
            folder, p.clips, seed=p.seed, lvef=p.lvef, uniform_share=p.uniform_share,
            duration_s=p.duration_s, workers=params.workers, progress=progress,
        )  # fmt: skip
    elif not folder.is_dir():
        raise ParamsError(
            f"data.root: found {params.data.root!r}, which is no folder; give `phantom` or the "
            "folder that holds FileList.csv and Videos/"
        )
    return folder


def store_folder(params: Params, data_dir: Path) -> Path:
    """Where the decoded clips of this run lie; runs with the same data and sizes share it."""
    folder = dataset_folder(params, data_dir).resolve()
    facts = [
        str(folder), params.store_size, params.store_fps, params.data.channels, params.data.pad,
        params.data.on_error,
    ]  # fmt: skip
    extra = params.conditioning.extra_columns
    facts += [list(extra)] if extra else []
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
    return data_dir / f"prepared-{params.store_size}px-{params.store_fps}fps-{digest}"


def prepare_data(params: Params, data_dir: Path, progress: Progress | None = None) -> ClipStore:
    """The store of this run, built where it does not exist or the data has changed."""
    root = make_dataset(params, data_dir, progress)
    return ClipStore.build(
        root, store_folder(params, data_dir), size=params.store_size, fps=params.store_fps,
        channels=params.data.channels, pad=params.data.pad, on_error=params.data.on_error,
        workers=params.workers, extra_columns=params.conditioning.extra_columns, progress=progress,
    )  # fmt: skip


def open_store(params: Params, data_dir: Path) -> ClipStore:
    """The store that `prepare_data` built."""
    return ClipStore.open(store_folder(params, data_dir))
