"""``echocascade data shard``: a data set in tar shards."""

from pathlib import Path

from echocascade.data.echonet import COLUMNS, DatasetError, read_file_list
from echocascade.data.shards import SHARDS, copy_tables, shard_clips
from echocascade.data.tables import FILE_LIST, TRACINGS

USER_ERRORS = (DatasetError, OSError)


def shard(directory: Path, out: Path, clips_per_shard: int) -> tuple[int, int]:
    """Copy clips and tables of a sound data set; the numbers of clips and of shards.

    The tables come last: a folder without FileList.csv was not finished, and the same command
    makes it anew.
    """
    table = read_file_list(directory)
    if (out / FILE_LIST).exists():
        raise FileExistsError(f"{out} holds a data set already; choose another folder")
    facts = table[[name for name in COLUMNS if name != "FileName"]].to_dict("records")
    clips = zip(table["FileName"], table["path"], facts, strict=True)
    for old in (out / SHARDS).glob("*.tar"):
        old.unlink()
    n_shards = shard_clips(out, clips, clips_per_shard)
    copy_tables(directory, out, (TRACINGS, "provenance.csv", "generation.json", FILE_LIST))
    return len(table), n_shards
