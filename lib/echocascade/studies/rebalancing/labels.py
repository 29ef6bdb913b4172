"""Which LVEF a generated clip is labelled with: the requested one, or the one read from it.

A generated clip's true LVEF is not exactly the requested one. Both labels of every clip stay in
provenance.csv; FileList.csv has one of them, and can be written anew with the other.
"""

import numpy as np
import pandas as pd

from echocascade.data.echonet import COLUMNS

LABELS = {"requested": "lvef_requested", "estimated": "lvef_estimated"}


def check_kind(kind: str) -> None:
    """ValueError unless `kind` is one of LABELS."""
    if kind not in LABELS:
        raise ValueError(f"labels are {kind!r}; allowed are {', '.join(LABELS)}")


def label_of(provenance: pd.DataFrame, kind: str) -> pd.Series:
    """LVEF in percent, within 0 to 100, of each row of a provenance table.

    kind: "requested", what the clip was asked for; "estimated", what the regressor reads in it.
    """
    check_kind(kind)
    return provenance[LABELS[kind]].clip(0, 100)


def file_list(provenance: pd.DataFrame, kind: str, size: int, n_frames: int, fps: float) -> str:
    """FileList.csv of the kept clips as text, all of them TRAIN.

    EDV is that of the patient whose anatomy was used and ESV follows from the label: volumes of
    the heart that was asked for, measured by nobody.
    """
    kept = provenance[provenance["kept"]]
    lvef = label_of(kept, kind)
    volumes = {"ESV": kept["anatomy_edv_ml"] * (1 - lvef / 100), "EDV": kept["anatomy_edv_ml"]}
    table = pd.DataFrame({"FileName": kept["FileName"], "EF": lvef, **volumes}).round(8)
    frame = {"FrameHeight": size, "FrameWidth": size, "FPS": np.float64(fps)}
    table = table.assign(**frame, NumberOfFrames=n_frames, Split="TRAIN")
    return table[list(COLUMNS)].to_csv(index=False, lineterminator="\n")
