"""The arrows between the rooms of this project: who may import whom, with lazy imports and those for typing alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {"inputs", "images", "benchmark"}
# room -> the rooms that it may import from, beside the ground; CONTRIBUTING shows the same
ARROWS = {
    "contract": set(),
    "inputs": set(),
    "images": {"contract"},
    "store": set(),
    "packing": {"store"},
    "datasets": {"contract"},
    "methods": {"contract"},
    "seal": {"contract", "datasets", "store"},
    "plan": {"contract", "datasets", "store", "methods"},
    "score": {"contract", "plan", "datasets", "store"},
    "train": {"score", "plan", "seal", "contract", "store", "methods"},
    "terminal": {"plan", "score", "datasets", "train"},
    "check": {"terminal", "train", "score", "plan", "seal", "contract", "datasets", "methods"},
    "report": {"score", "plan", "store", "datasets"},
    "api": {"train", "report", "plan", "store"},
    "__main__": {"api", "terminal", "check", "report", "train", "score", "plan", "seal", "packing", "store", "datasets"},
}


def room(module: str) -> str:
    """The room of a module of this project: `seal.contract` and the files beside `__init__.py` are rooms of their own."""
    parts = module.split(".")
    if parts[:3] == ["benchmark", "seal", "contract"]:
        return "contract"
    return parts[1] if len(parts) > 1 else "benchmark"


def modules() -> dict[str, Path]:
    """Every module of the project by its import name; templates are for users' folders."""
    folders = {
        "benchmark": ROOT / "benchmark",
        "benchmark.methods": ROOT / "methods",
        "benchmark.datasets": ROOT / "datasets",
    }
    found = {}
    for package, folder in folders.items():
        for path in folder.rglob("*.py"):
            if "templates" not in path.parts:
                name = ".".join([package, *path.relative_to(folder).with_suffix("").parts])
                found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The project's modules that a file imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "benchmark":
            found |= {each if (each := f"{node.module}.{alias.name}") in known else node.module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "benchmark"}
    return found


@pytest.mark.parametrize("name", sorted(set(map(room, modules())) - {"benchmark"}))
def test_a_room_imports_from_the_rooms_below_it_alone(name):
    known = modules()
    used = {
        (module, room(other))
        for module, path in known.items()
        if room(module) == name
        for other in imports(path, known)
        if room(other) not in {name, *GROUND}
    }
    assert {target for _, target in used} <= ARROWS[name], sorted(pair for pair in used if pair[1] not in ARROWS[name])


def test_no_two_rooms_import_each_other_directly_or_not():
    order = list(ARROWS)
    assert all(
        order.index(target) < order.index(name) for name, targets in ARROWS.items() for target in targets - {"methods"}
    )
    assert order.index("methods") < order.index("plan")


def test_no_module_imports_itself_by_way_of_others():
    known = modules()
    below = {module: {other for other in imports(path, known) if other in known} for module, path in known.items()}
    while leaves := [module for module, others in below.items() if not others]:
        for leaf in leaves:
            del below[leaf]
        for others in below.values():
            others -= set(leaves)
    assert not below, f"modules that import each other: {sorted(below)}"


def test_what_a_method_may_import_is_one_file():
    known = modules()
    used = {other for module, path in known.items() if room(module) == "methods" for other in imports(path, known)}
    assert {each for each in used if room(each) != "methods"} <= {"benchmark", "benchmark.seal.contract"}
