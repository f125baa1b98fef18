"""What the repository promises about itself: one list of dependencies, one-way imports, no large files."""

import ast
import fnmatch
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dept", "lab")
LARGEST_FILE = 13_000_000  # bytes; a Space and a clone stay small

# Distributions whose module is not called as they are.
MODULE_OF = {"ipython": "IPython", "pyyaml": "yaml", "scikit-learn": "sklearn", "protobuf": "google", "pillow": "PIL"}
# What each package may import beside the base dependencies. `dept` can be used alone, so `lab` is not there.
EXTRAS_OF = {
    "dept": {"vision", "easy-vqa", "smollm2", "quantize", "track"},
    "lab": {"lab", "vision", "smollm2", "pretrain", "ray", "sweep", "docs", "space", "track"},
}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, Version] = {}
    for line in lines:
        if not line.startswith("#"):
            pin = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;+]+)", line)
            assert pin, f"constraints.txt: {line!r} is not name==version"
            found[canonicalize_name(pin[1])] = Version(pin[2])
    return found


def declared(pyproject: dict[str, Any]) -> dict[str, list[Requirement]]:
    """The requirements of the project ("") and of each of its extras."""
    lists = {"": pyproject["project"]["dependencies"], **pyproject["project"]["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in lists.items()}


def tracked_files() -> list[Path]:
    """Files that git has or would add, as paths from the root; skips where this is no git checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file()]


def imported_modules(source: str) -> Iterator[str]:
    """Modules imported anywhere in a file, inside functions and by importlib too; relative ones left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def imports_of(package: str) -> dict[str, set[str]]:
    """Top-level names imported by each file of a package."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package}/ has no Python files"
    return {
        str(file.relative_to(ROOT)): {
            name.partition(".")[0] for name in imported_modules(file.read_text(encoding="utf-8"))
        }
        for file in files
    }


def test_conda_environment_equals_pyproject(pyproject: dict[str, Any]) -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{pyproject['project']['requires-python']}", "pip"]
    constraint, *dependencies, project = pip["pip"]
    assert (constraint, project) == ("--constraint constraints.txt", "--editable .[lab,vision]")
    lists = declared(pyproject)
    requirements = sorted([*lists[""], *lists["lab"], *lists["vision"]], key=lambda requirement: requirement.name)
    assert [Requirement(line) for line in dependencies] == requirements


def test_dependencies_are_sorted_and_named_once(pyproject: dict[str, Any]) -> None:
    for extra, requirements in declared(pyproject).items():
        names = [canonicalize_name(requirement.name) for requirement in requirements]
        assert names == sorted(set(names)), extra


def test_constraints_pin_every_dependency_within_its_range(
    pyproject: dict[str, Any], pins: dict[str, Version]
) -> None:
    for requirement in itertools.chain.from_iterable(declared(pyproject).values()):
        name = canonicalize_name(requirement.name)
        if name == pyproject["project"]["name"]:  # an extra that includes another one
            continue
        assert name in pins, f"{name} has no pin in constraints.txt"
        assert pins[name] in requirement.specifier, f"{name}=={pins[name]} is outside {requirement}"


def test_pre_commit_uses_the_pinned_versions(pins: dict[str, Version]) -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}
    assert hooks.keys() == {"ruff", "ruff-format", "nbstripout"}
    for hook in hooks.values():
        tool = hook["entry"].split()[0]
        assert hook["additional_dependencies"] == [f"{tool}=={pins[tool]}"]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_are_declared_dependencies(pyproject: dict[str, Any], package: str) -> None:
    """Of the base and of the package's own extras: `dept` imports nothing of `lab`, nor what `lab` needs."""
    lists = declared(pyproject)
    used = [*lists[""], *itertools.chain.from_iterable(lists[extra] for extra in EXTRAS_OF[package])]
    names = {canonicalize_name(requirement.name) for requirement in used}
    modules = {MODULE_OF.get(name, name.replace("-", "_")) for name in names}
    allowed = modules | set(sys.stdlib_module_names) | ({"dept"} if package == "dept" else set(PACKAGES))
    found = {file: names - allowed for file, names in imports_of(package).items()}
    assert not {file: undeclared for file, undeclared in found.items() if undeclared}


def test_images_alone_need_the_extra_vision(pyproject: dict[str, Any]) -> None:
    """Its libraries are imported inside functions: a text run works without them."""
    modules = {MODULE_OF.get(requirement.name, requirement.name) for requirement in declared(pyproject)["vision"]}
    for file in (ROOT / "dept").rglob("*.py"):
        top = ast.Module(ast.parse(file.read_text(encoding="utf-8")).body, [])
        top.body = [node for node in top.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {name.partition(".")[0] for name in imported_modules(ast.unparse(top))}
        assert not names & modules, file


@pytest.mark.parametrize(
    "source",
    [
        "import lab.cli",
        "def f():\n    from lab.cli import main",
        "import importlib\nimportlib.import_module('lab.cli')",
    ],
)
def test_the_import_scan_sees(source: str) -> None:
    assert "lab.cli" in set(imported_modules(source))


def test_every_shipped_yaml_is_package_data(pyproject: dict[str, Any]) -> None:
    """Names alone, quickly; tests/test_packaging.py looks into the built wheel."""
    patterns = pyproject["tool"]["setuptools"]["package-data"]["*"]
    files = [file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.y*ml")]
    assert files, "no task's YAML was found"
    assert not [file for file in files if not any(fnmatch.fnmatch(file.name, each) for each in patterns)]
    assert all(part.isidentifier() for file in files for part in file.parent.parts), "a folder is no package"


def test_no_file_is_too_large() -> None:
    sizes = {str(file): (ROOT / file).stat().st_size for file in tracked_files()}
    assert sizes
    assert not {file: size for file, size in sizes.items() if size > LARGEST_FILE}


def test_readme_names_every_top_level_folder(pyproject: dict[str, Any]) -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("README.md is not written yet")
    text = readme.read_text(encoding="utf-8")
    folders = {file.parts[0] for file in tracked_files() if len(file.parts) > 1}
    assert not {folder for folder in folders if f"{folder}/" not in text}
    assert pyproject["project"]["readme"] == "README.md"
