import re
from pathlib import Path

import numpy as np
import pytest
from conftest import HEADER, Folder, drifting_clip  # type: ignore[import-not-found]

from echocascade.data.echonet import (
    COLUMNS,
    DatasetError,
    check_dataset,
    read_file_list,
    read_tracings,
)
from echocascade.data.video import write_avi
