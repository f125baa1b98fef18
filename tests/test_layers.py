"""The layout of the two packages: imports point down the floors of docs/architecture.md; files and folders stay small.

Every import is read from the source, so imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGES = ("dept", "lab")
MOST_LINES = 500
MOST_ENTRIES = 20

Floors = dict[str, list[list[str]]]  # package -> its floors from the highest down, each a list of rooms


@dataclass(frozen=True)
class Import:
    importer: str
    """The importing module, e.g. `dept.data.sources`."""
    line: int
    target: str
    """The imported module, with the imported name at its end if that may be a module as well."""


def floors(markdown: str) -> Floors:
    """The floors in the ```floors block of a page."""
    block = re.search(r"^```floors\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    assert block, "there is no block of floors"
    packages: Floors = {}
    floors_of_package: list[list[str]] = []
    for line in block[1].splitlines():
        package, colon, rooms = line.rpartition(":")
        if colon:
            floors_of_package = packages.setdefault(package, [])
        floors_of_package.append(rooms.split())
    return packages


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages under a root, by its dotted name."""
    files = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(module: str, file: Path) -> Iterator[Import]:
    """Every import in a file, wherever it is written.

    Names in strings count too: `import_module("...")`, "module:name" references, and in a file that calls
    `import_module` with a variable every string that looks like a module.
    """
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    by_variable = any(_calls_import(node) and not isinstance(node.args[0], ast.Constant) for node in nodes)
    for node in nodes:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            targets = [f"{source}.{alias.name}" for alias in node.names]
        elif _calls_import(node) and isinstance(node.args[0], ast.Constant):
            targets = [str(node.args[0].value)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            reference = re.fullmatch(r"(\w+(?:\.\w+)+)(:\w+)?", node.value)
            targets = [reference[1]] if reference and (reference[2] or by_variable) else []
        for target in targets:
            if target.partition(".")[0] in PACKAGES:
                yield Import(module, getattr(node, "lineno", 0), target)


def _calls_import(node: ast.AST) -> TypeGuard[ast.Call]:
    if not isinstance(node, ast.Call) or not node.args:
        return False
    return ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")


def home(target: str, known: dict[str, Path]) -> str:
    """The module that an imported name lies in: the longest part of its path that is a module."""
    while target not in known and "." in target:
        target = target.rpartition(".")[0]
    return target


def room(module: str) -> tuple[str, str]:
    """The package and the room that a module belongs to."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0] or "__init__"


def wrong_imports(root: Path, packages: Floors) -> list[str]:
    """Imports that do not point down, one line each."""
    height = {
        (package, name): -depth
        for package, rows in packages.items()
        for depth, rooms in enumerate(rows)
        for name in rooms
    }
    known = modules(root)
    wrong = []
    for module, file in known.items():
        for each in imports(module, file):
            target = home(each.target, known)
            here, there = room(module), room(target)
            if there == ("dept", "__init__") and target != module:
                fault = "uses a short name of the package; import it from the module that defines it"
            elif here[0] != there[0]:
                fault = "the method imports what surrounds it" if here[0] == "dept" else ""
            elif here == there or height[here] > height[there]:
                fault = ""
            else:
                fault = f"points {'up' if height[here] < height[there] else 'sideways'}"
            if fault:
                wrong.append(f"{module}, line {each.line}, imports {each.target}: {fault}")
    return wrong


def circle(root: Path) -> list[str]:
    """The modules of one circle of imports, in order; nothing if there is none."""
    known = modules(root)
    graph = {
        module: {home(each.target, known) for each in imports(module, file)} - {module}
        for module, file in known.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def too_long(root: Path, folders: tuple[str, ...]) -> dict[str, int]:
    """Python files with more than MOST_LINES lines."""
    files = [file for folder in folders for file in (root / folder).rglob("*.py")]
    lines = {str(file.relative_to(root)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    return {file: count for file, count in lines.items() if count > MOST_LINES}


def too_full(root: Path, folders: tuple[str, ...]) -> dict[str, int]:
    """Folders with more than MOST_ENTRIES entries.

    Caches, which nobody reads, are no entries. Neither are folders of data alone, which hold one file per item of a
    list: the task files in dept/tasks/registered.
    """
    counts = {}
    for folder in folders:
        for each in [root / folder, *(root / folder).rglob("*")]:
            if each.is_dir() and each.name != "__pycache__":
                entries = [entry for entry in each.iterdir() if entry.name != "__pycache__" and entry.suffix != ".pyi"]
                code = [entry for entry in entries if entry.is_dir() or entry.suffix == ".py"]
                if len(entries) > MOST_ENTRIES and [entry.name for entry in code] not in ([], ["__init__.py"]):
                    counts[str(each.relative_to(root))] = len(entries)
    return counts


@pytest.fixture(scope="module")
def architecture() -> Floors:
    return floors(ARCHITECTURE.read_text(encoding="utf-8"))


def test_every_room_has_one_place_on_the_floors(architecture: Floors) -> None:
    listed = [(package, name) for package, rows in architecture.items() for rooms in rows for name in rooms]
    assert sorted(listed) == sorted({room(module) for module in modules(ROOT)} | {("dept", "__init__")})


def test_every_room_has_one_line_in_the_table(architecture: Floors) -> None:
    described = re.findall(r"^\| `(\w+)/(\w+)` \| \S", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert described == [(package, name) for package, rows in architecture.items() for rooms in rows for name in rooms]


def test_imports_point_down(architecture: Floors) -> None:
    wrong = wrong_imports(ROOT, architecture)
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circle(ROOT)


def test_no_python_file_is_too_long() -> None:
    assert not too_long(ROOT, (*PACKAGES, "tests"))


def test_no_folder_is_too_full() -> None:
    assert not too_full(ROOT, (*PACKAGES, "tests"))


MADE_UP = floors("```floors\ndept: __init__\n      top\n      left right\n      low\nlab:  page\n      jobs\n```")


def tree(root: Path, files: dict[str, str]) -> Path:
    """A small project: every room of MADE_UP as an empty module, then the files given, by dotted name."""
    rooms = {f"{package}.{name}" for package, rows in MADE_UP.items() for names in rows for name in names}
    empty = {name: "" for name in rooms if f"{name}.__init__" not in files}
    for module, source in {**empty, **files}.items():
        path = root / (module.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


@pytest.mark.parametrize(
    ("module", "source", "says"),
    [
        ("dept.low", "import dept.top", "points up"),
        ("dept.low", "from dept.top import main", "points up"),
        ("dept.low", "from dept import top", "points up"),
        ("dept.low", "from . import top", "points up"),
        ("dept.low", "from .top import main", "points up"),
        ("dept.low", "def lazy():\n    from dept.top import main", "points up"),
        ("dept.low", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dept.top", "points up"),
        ("dept.low", "import importlib\nimportlib.import_module('dept.top')", "points up"),
        ("dept.low", "HOMES = {'a name': 'dept.top:Main'}", "points up"),
        ("dept.low", "from importlib import import_module\nimport_module(f())\nx = 'dept.top'", "points up"),
        ("dept.left", "from dept.right import anything", "points sideways"),
        ("dept.top", "from dept import ShortName", "short name"),
        ("dept.top", "import dept", "short name"),
        ("lab.page", "def lazy():\n    from dept import ShortName", "short name"),
        ("dept.top", "import lab.jobs", "what surrounds it"),
        ("lab.jobs", "import lab.page", "points up"),
    ],
)
def test_an_import_that_does_not_point_down_is_seen(tmp_path: Path, module: str, source: str, says: str) -> None:
    (wrong,) = wrong_imports(tree(tmp_path, {module: source}), MADE_UP)
    assert wrong.startswith(f"{module}, line {len(source.splitlines())}, imports") and says in wrong


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dept.top", "from dept.left import a\nfrom dept.low import b\nimport json"),
        ("dept.top.room", "from dept.top.other import a\nfrom .other import a"),
        ("dept.__init__", "from dept.top import main\nfrom . import low"),
        ("lab.jobs", "from dept.top import main\nfrom dept import top"),
        ("dept.low", "TEXT = 'dept.top'\nTIME = '12:30'"),
    ],
)
def test_an_import_that_points_down_is_fine(tmp_path: Path, module: str, source: str) -> None:
    assert not wrong_imports(tree(tmp_path, {module: source}), MADE_UP)


def test_a_circle_is_seen_though_it_is_lazy_and_within_a_room(tmp_path: Path) -> None:
    a, b = "from dept.top.b import f", "def f():\n    from dept.top.c import g"
    tree(tmp_path, {"dept.top.a": a, "dept.top.b": b, "dept.top.c": ""})
    assert not circle(tmp_path)
    tree(tmp_path, {"dept.top.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dept.top.a"})
    assert set(circle(tmp_path)) == {"dept.top.a", "dept.top.b", "dept.top.c"}


def test_a_circle_through_the_init_of_a_room_is_seen(tmp_path: Path) -> None:
    tree(tmp_path, {"dept.top.__init__": "from dept.top.a import f", "dept.top.a": "from dept.top import g"})
    assert set(circle(tmp_path)) == {"dept.top", "dept.top.a"}


def test_long_files_and_full_folders_are_seen(tmp_path: Path) -> None:
    tree(tmp_path, {"dept.top.long": "\n" * (MOST_LINES + 1), "dept.top.fits": "\n" * MOST_LINES})
    for number in range(MOST_ENTRIES + 1):
        tree(tmp_path, {f"lab.full.file{number}": "", "lab.full.__pycache__.file": ""})
        (tmp_path / "lab" / f"task{number}.yaml").touch()
        (tmp_path / "dept" / "top" / "registered").mkdir(exist_ok=True)
        (tmp_path / "dept" / "top" / "registered" / f"task{number}.yaml").touch()
    assert too_long(tmp_path, PACKAGES) == {"dept/top/long.py": MOST_LINES + 1}
    assert too_full(tmp_path, PACKAGES) == {"lab/full": MOST_ENTRIES + 1, "lab": MOST_ENTRIES + 1 + 3}
