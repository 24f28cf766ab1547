"""The shape of the project: who may import whom, what is public, what is shipped."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import recsys

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "recsys"
#: It runs what stands above it on many machines, and what stands above it never sees it.
SPARK = "engines.spark"
#: The order in which data flows: a module imports only what stands above it.
ORDER = [
    *("errors", "config", "schema", "simulation", "events", "split", "matrix", "compiled"),
    *("factors", "engines"),
    *("features", "probability", "model", "metrics", "inference", "evaluation", SPARK, "tuning", "audit"),
    *("report", "store", "pipeline"),
]
SOURCES = sorted([*LIBRARY.rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")


def room_of(path: Path) -> str:
    return room_called(".".join(path.relative_to(LIBRARY).with_suffix("").parts))


def room_called(name: str) -> str:
    first, second = (*name.split("."), "")[:2]
    return SPARK if first == "engines" and second in ("spark", "_spark") else first


def imported_rooms(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {room_called(name.removeprefix("recsys.")) for name in names if name.startswith("recsys.")}


def test_every_module_has_a_place_in_the_order() -> None:
    assert {room_of(path) for path in MODULES} <= set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_modules_import_only_what_stands_above_them(path: Path) -> None:
    own = room_of(path)
    below = {room for room in imported_rooms(path.read_text()) if ORDER.index(room) > ORDER.index(own)}
    assert not below


def test_the_import_rule_sees_every_form_of_import() -> None:
    source = "import recsys.store\nfrom recsys import report\nfrom recsys.model import WillLikeModel\n"
    assert imported_rooms(source) == {"store", "report", "model"}
    assert imported_rooms("from recsys.engines import spark\n") == {SPARK}
    assert imported_rooms("from recsys.engines._spark._als import factorise\n") == {SPARK}


def test_private_files_are_read_by_their_own_room_only() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and "._" in node.module:
                reached = room_called(node.module.removeprefix("recsys."))
                assert reached == room_of(path), f"{path} reaches into {node.module}"


def test_public_names_stand_in_one_place_in_pipeline_order() -> None:
    assert recsys.__all__ == [
        "RecsysError",
        "Settings",
        "load_settings",
        "World",
        "simulate",
        "write_simulation",
        "Truth",
        "read_truth",
        "EventLog",
        "read_events",
        "WillLikeModel",
        "Evaluation",
        "evaluate",
        "Audit",
        "audit",
        "read_predictions",
        "load_model",
    ]
    for name in recsys.__all__:
        assert getattr(recsys, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        recsys.recomend  # noqa: B018


def test_importing_and_asking_for_help_loads_nothing_heavy() -> None:
    heavy = (
        "numpy",
        "polars",
        "scipy",
        "implicit",
        "pandas",
        "matplotlib",
        "pydantic",
        "rich",
        "optuna",
        "pyspark",
    )
    code = (
        "import sys, recsys, recsys_cli.app\n"
        "try: recsys_cli.app.main(['--help'])\n"
        f"finally: print('heavy:', sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("heavy: []")


def imported_modules(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def called_names(source: str) -> set[str]:
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {ast.unparse(call) for call in calls} | {
        call.attr for call in calls if isinstance(call, ast.Attribute)
    }


def test_spark_is_met_in_its_own_room_only() -> None:
    meets = {
        path
        for path in SOURCES
        if any(name.split(".")[0] == "pyspark" for name in imported_modules(path.read_text()))
    }
    assert meets
    assert {room_of(path) for path in meets} == {SPARK}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_calls_a_shell_or_opens_a_socket(path: Path) -> None:
    banned = {
        "pickle",
        "joblib",
        "shelve",
        "marshal",
        "subprocess",
        "socket",
        "urllib.request",
        "http.client",
    }
    assert not imported_modules(path.read_text()) & banned
    assert not called_names(path.read_text()) & {"system", "popen", "read_pickle", "to_pickle"}


RENAMING = {"os.rename", "os.replace", "os.symlink", "os.remove", "symlink_to", "unlink", "rmdir", "rmtree"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_store_renames_files(path: Path) -> None:
    if LIBRARY / "store" in path.parents:
        pytest.skip("the store may")
    assert "shutil" not in imported_modules(path.read_text())
    assert not called_names(path.read_text()) & RENAMING


def test_the_top_level_holds_what_the_design_names() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    if not any(tracked):
        pytest.skip("not a git checkout")
    named = {"pyproject.toml", "README.md", "recsys", "data", "cli", "tests", "LICENSE", "CHANGELOG.md"}
    top = {name.split("/")[0] for name in tracked if name}
    assert {name for name in top if not name.startswith(".")} == named


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_ships_two_packages_and_no_other(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"recsys", "recsys_cli"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    shipped = set(wheel.namelist())
    for package in (LIBRARY, ROOT / "cli" / "recsys_cli"):
        for path in package.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(package.parent)) in shipped
    assert "recsys/report/templates/evaluation.html" in shipped
    assert {"recsys/py.typed", "recsys_cli/py.typed"} <= shipped


def test_the_wheel_names_its_command_and_licence(wheel: zipfile.ZipFile) -> None:
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "recsys = recsys_cli.app:main" in wheel.read(entry).decode()
    (metadata,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    assert "License-Expression: Apache-2.0" in wheel.read(metadata).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
