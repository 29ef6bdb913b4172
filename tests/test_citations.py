"""Citations lead somewhere: every key that is cited is listed in REFERENCES.md."""

import re
from pathlib import Path

import pytest

KEY = re.compile(r"\b[A-Z][a-z]{1,20}(?:[89]\d|[0-2]\d)\b(?!\d)")
PLACED = re.compile(r"\b([A-Z][a-z]+\d\d),? (Eq|Alg|Sec|Table|Fig|App)\b")
# words that look like keys: number formats
NO_KEYS = {"Float16", "Int16", "Uint16", "Int08"}


def cited(text: str) -> set[str]:
    return (set(KEY.findall(text)) | {found[0] for found in PLACED.findall(text)}) - NO_KEYS


def known(root: Path) -> set[str]:
    table = (root / "REFERENCES.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| (\w+\d\d) \|", table, re.MULTILINE))


def sources(root: Path) -> list[Path]:
    folders = (root / "lib" / "echocascade", root / "notebooks", root / "tests")
    files = [file for folder in folders for file in folder.rglob("*")]
    return [f for f in files if f.suffix in (".py", ".ipynb") and f.name != Path(__file__).name]


def test_every_citation_is_listed(root):
    unknown = {
        f"{file.relative_to(root)}: {key}"
        for file in sources(root)
        for key in cited(file.read_text(encoding="utf-8")) - known(root)
    }
    assert unknown == set()


def test_the_list_is_sorted_and_cited(root):
    table = (root / "REFERENCES.md").read_text(encoding="utf-8")
    keys = re.findall(r"^\| (\w+\d\d) \|", table, re.MULTILINE)
    assert keys == sorted(set(keys))
    used = {key for file in sources(root) for key in cited(file.read_text(encoding="utf-8"))}
    assert set(keys) - used == set()


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("see Karras22 Eq. 7 and Ho22 Sec. 4", {"Karras22", "Ho22"}),
        ("(Kerras22 Alg. 2)", {"Kerras22"}),
        ("torch.Float16, H264, step 12", set()),
    ],
)
def test_citations_are_recognised(text, keys):
    assert cited(text) == keys
