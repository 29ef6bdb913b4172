"""What a file tells without being looked at: the same for real and generated clips, or no study."""

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from echocascade.studies.expert.folder import Study, load_key

FACTS = ("codec", "pixel format", "pixels", "frames", "seconds", "bytes")


def file_facts(study: Study) -> pd.DataFrame:
    """A row a clip: its kind, FACTS, and `picture bytes`, what the encoder needed for the picture.

    The last is what padding hides.
    """
    rows = []
    for name, kind in load_key(study.directory).clips[["file", "kind"]].itertuples(index=False):
        path = study.clip(str(name))
        with av.open(str(path)) as container:
            (stream,) = container.streams.video
            sizes = [packet.size for packet in container.demux(stream) if packet.size]
            context = stream.codec_context
            rows.append(
                {
                    "kind": kind, "codec": context.name, "pixel format": context.pix_fmt,
                    "pixels": context.width, "frames": len(sizes),
                    "seconds": len(sizes) / float(stream.average_rate or 0),
                    "bytes": path.stat().st_size, "picture bytes": sum(sizes),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def blinding_table(facts: pd.DataFrame) -> pd.DataFrame:
    """What `file_facts` has, a row a fact: the values, and how well it tells real from generated.

    The last column is an area under the ROC curve: 0.5 tells nothing, 0 and 1 everything.
    """
    real = (facts["kind"] == "real").to_numpy()
    rows = []
    for fact in (*FACTS, "picture bytes"):
        codes = pd.factorize(facts[fact], sort=True)[0].astype(float)
        values = sorted(facts[fact].unique())
        shown = str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
        rows.append({"fact": fact, "value": shown, "tells (0.5: nothing)": area(codes, real)})
    return pd.DataFrame(rows)


def area(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of `values` (N,) for `positive` (N,); ties count half."""
    difference = values[positive][:, None] - values[~positive][None]
    return float((np.sign(difference) + 1).mean() / 2) if difference.size else float("nan")
