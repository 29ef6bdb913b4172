"""lambda_c: the clinical parameters of a clip as a vector (Reynaud23 Sec. 2), its own or asked for.

A counterfactual changes the LVEF and leaves the patient alone: every other entry stays the clip's
own, but for the end-systolic volume, which follows from EF = (EDV - ESV) / EDV at the clip's EDV.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from echocascade.params import Params, ParamsError, ScalarParams

SAME_LVEF = 1e-4  # points: tables are float32 in places, and a clip's own LVEF changes nothing


@dataclass(frozen=True)
class Scalars:
    """The entries of lambda_c in order, each with the range that becomes [0, 1]."""

    entries: tuple[ScalarParams, ...]

    @staticmethod
    def of(params: Params) -> "Scalars":
        return Scalars(params.conditioning.scalars)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(entry.column for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def of_clips(self, table: pd.DataFrame) -> Tensor:
        """The clips' own lambda_c (N, S), float32 in [0, 1], from rows of a store's table.

        Raises:
            ParamsError: a column is not in the table, or a value lies outside its range.
        """
        for entry in self.entries:
            if entry.column not in table:
                raise ParamsError(
                    f"conditioning.scalars: no column {entry.column!r}; the clips have "
                    f"{', '.join(c for c in table.columns if c not in ('FileName', 'Split'))}"
                )
            outside = ~table[entry.column].between(*entry.range)
            if outside.any():
                row = table[outside].iloc[0]
                raise ParamsError(
                    f"conditioning.scalars: {entry.column} of {int(outside.sum())} clips lies "
                    f"outside the declared range {entry.range[0]:g} to {entry.range[1]:g}, e.g. "
                    f"{row['FileName']} with {row[entry.column]:g}"
                )
        return self._normalised({c: table[c].to_numpy(float) for c in self.columns})

    def asked(self, table: pd.DataFrame, lvef_percent: NDArray[np.float64]) -> Tensor:
        """lambda_c (N, S) of the clips in `table`, asked for other LVEFs (N,) in percent.

        ESV becomes EDV (1 - EF) where the LVEF is not the clip's own, held inside its range.
        """
        lvef = np.asarray(lvef_percent, dtype=float)
        values = {c: table[c].to_numpy(float) for c in self.columns}
        if "EF" in values:
            values["EF"] = lvef
        if "ESV" in values:
            changed = np.abs(lvef - table["EF"].to_numpy(float)) > SAME_LVEF
            wanted = table["EDV"].to_numpy(float) * (1 - lvef / 100)
            values["ESV"] = np.where(changed, wanted, values["ESV"])
        return self._normalised(values).clamp(0, 1)

    def of_values(self, values: Mapping[str, float]) -> Tensor:
        """lambda_c (1, S) of one request, e.g. {"EF": 30, "EDV": 120}; ESV follows from these two.

        Raises:
            ValueError: an entry is missing, or lies outside its range.
        """
        known = dict(values)
        if "EF" in known and "EDV" in known:
            known.setdefault("ESV", known["EDV"] * (1 - known["EF"] / 100))
        missing = [c for c in self.columns if c not in known]
        if missing:
            raise ValueError(
                f"this cascade is conditioned on {', '.join(self.columns)}; "
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            )
        for entry in self.entries:
            if not entry.range[0] <= known[entry.column] <= entry.range[1]:
                raise ValueError(
                    f"{entry.column} is {known[entry.column]:g}; allowed are "
                    f"{entry.range[0]:g} to {entry.range[1]:g}"
                )
        return self._normalised({c: np.array([known[c]]) for c in self.columns})

    def _normalised(self, values: Mapping[str, NDArray[np.float64]]) -> Tensor:
        columns = [
            (values[entry.column] - entry.range[0]) / (entry.range[1] - entry.range[0])
            for entry in self.entries
        ]
        return torch.as_tensor(np.stack(columns, axis=1), dtype=torch.float32)
