"""One environment, said three times: bounds (pyproject), pins (lock file), conda (the lock)."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = ("peer", "fuzz")  # extras that have a lock file and an environment of their own


def locked(root: Path, name: str = "requirements.lock") -> dict[str, Requirement]:
    lines = (root / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def bounds(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {k: v for k, v in project["optional-dependencies"].items() if k not in OWN}
    groups = [project["dependencies"], *extras.values()]
    return [Requirement(line) for group in groups for line in group]


def test_every_line_of_the_lock_is_one_exact_pin(root):
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pattern = re.compile(
        r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+(; (python_version|platform_system) .*)?$"
    )
    assert [line for line in lines if not pattern.match(line)] == []
    assert len(locked(root)) == len(lines)
    assert "://" not in text and "file:" not in text and " @ " not in text


def test_every_dependency_is_pinned_within_its_bounds(root):
    pins = locked(root)
    wrong = [
        f"{bound} against {pins.get(canonicalize_name(bound.name), 'no pin')}"
        for bound in bounds(root)
        if canonicalize_name(bound.name) not in pins
        or not bound.specifier.contains(version_of(pins[canonicalize_name(bound.name)]))
    ]
    assert wrong == []


def test_conda_installs_the_same_pins(root):
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["--requirement requirements.lock", "--no-deps --editable ."]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    python = next(Requirement(entry.replace("=", "==", 1)) for entry in conda if "python" in entry)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(version_of(python))
    assert {Requirement(entry.replace("=", "==", 1)).name for entry in conda} == {"python", "pip"}


def test_what_runs_here_is_what_the_lock_says(root):
    pins = locked(root)
    differing = {
        bound.name: metadata.version(bound.name)
        for bound in bounds(root)
        if metadata.version(bound.name) != version_of(pins[canonicalize_name(bound.name)])
    }
    assert differing == {}, "this environment is not the locked one: run make lint"


def test_the_lock_names_every_package_that_its_packages_need(root):
    """Followed on this Python and platform; CUDA libraries are torch's own exact pins."""
    pins = locked(root)
    missing = set()
    for name, pin in pins.items():
        if pin.marker is None or pin.marker.evaluate():
            for line in metadata.requires(name) or []:
                need = Requirement(line)
                if need.marker is None or need.marker.evaluate({"extra": ""}):
                    missing.add(canonicalize_name(need.name))
    own = re.compile(r"nvidia-|cuda-|triton$|setuptools$|pip$")
    assert {name for name in missing - pins.keys() if not own.match(name)} == set()


@pytest.mark.parametrize("extra", OWN)
def test_an_extras_lock_holds_what_the_bounds_ask_for_and_disturbs_no_other_pin(root, extra):
    pins, peers = locked(root), locked(root, f"requirements-{extra}.lock")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bound,) = (Requirement(line) for line in project["optional-dependencies"][extra])
    assert bound.specifier.contains(version_of(peers[canonicalize_name(bound.name)]))
    both = pins.keys() & peers.keys()
    assert {n: version_of(peers[n]) for n in both} == {n: version_of(pins[n]) for n in both}
    assert {pin.marker for pin in peers.values()} == {None}


def test_make_refuses_an_old_python_in_one_line(root, tmp_path):
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        fake = tmp_path / name
        fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2"\nexit 1\n')
        fake.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    done = subprocess.run(
        ["make", "--no-print-directory", "demo"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    said = "echocascade needs Python 3.11, 3.12 or 3.13; python3 is Python 3.9.2"
    assert done.stderr.splitlines()[0] == said


def test_citation_file_names_the_paper(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("Feature-Conditioned Cascaded Video Diffusion Models")
    assert paper["year"] == 2023 and len(paper["authors"]) == 8
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["license"] == project["license"]["text"] == "MIT"


@pytest.mark.parametrize("name", ["LICENSE", "data/README.md", "outputs/README.md", ".ci/run"])
def test_the_files_a_user_looks_for_are_there(root, name):
    assert (root / name).stat().st_size > 100


def test_python_is_one_that_the_lock_is_for():
    assert (3, 11) <= sys.version_info[:2] <= (3, 13)
