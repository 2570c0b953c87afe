"""Methods, data sets, metrics and figures by name, by path or from installed packages; found without importing them.

A method is a file: `methods/pce.py` is `pce`, and `--methods ./mine.py` is `mine`; so is a metric of one's own. A data set
is a class with a `name`. Figures are a file with functions. Installed packages register under the entry points
`benchmark.methods`, `benchmark.datasets`, `benchmark.metrics` and `benchmark.figures`.
"""

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import io
import itertools
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

import benchmark
from benchmark import InputError
from benchmark.inputs import explain, nearest

T = TypeVar("T")

PRIOR, BASE, SUPERVISED = ROLES = ("location prior", "base", "supervised")  # of methods in reports
PRESETS = Path(__file__).parents[1] / "presets"
NAME = re.compile(r"\w[\w.+-]{0,99}")  # of a method or a data set: folders are called so
PREFIX = "benchmark_plugin_"  # of the name of a file as a module; no module of a user is called so
KINDS = {  # -> entry points
    "method": "benchmark.methods",
    "data set": "benchmark.datasets",
    "metric": "benchmark.metrics",
    "figure": "benchmark.figures",
}
PARENTS = {  # kind -> module and name of the class that its plug-ins extend
    "method": ("benchmark.methods.base", "Method"),
    "data set": ("benchmark.datasets.base", "Dataset"),
    "metric": ("benchmark.score.metrics", "Metric"),
}


@dataclass(frozen=True)
class Plugin:
    """A method, a data set, a metric or a file of figures: its name and where its class is, or its functions are."""

    kind: str  # one of KINDS
    name: str
    module: str  # a module's name, or the path of a file
    cls: str = ""  # empty: the module's only one

    def imported(self) -> Any:
        """The module; raises InputError when it doesn't import."""
        try:
            return _import(self.module)
        except Exception as error:
            raise InputError(f"{self.kind} {self.name!r} doesn't import: {self.module}: {error!r}") from error

    def load(self) -> type:
        """The class; raises InputError when its module doesn't import or holds no such class."""
        module = self.imported()
        if self.cls:
            found = getattr(module, self.cls, None)
            if not isinstance(found, type):
                raise InputError(f"{self.kind} {self.name!r}: {self.module} has no class {self.cls}")
            return self._checked(found)
        classes = _defined(module, self.kind)
        if len(classes) != 1:
            names = ", ".join(cls.__name__ for cls in classes) or "none"
            raise InputError(f"{self.module} must define one {PARENTS[self.kind][1]}; it defines {names}")
        return self._checked(classes[0])

    def _checked(self, cls: type) -> type:
        """Return the class; raises InputError if it lacks a function, or its options are none for want of @dataclass."""
        if missing := getattr(cls, "__abstractmethods__", ()):
            raise InputError(f"{self.module}: class {cls.__name__} must define {' and '.join(sorted(missing))}")
        if not dataclasses.is_dataclass(cls):  # a metric, which has no options
            return cls
        typed, fields = inspect.get_annotations(cls), [f.name for f in dataclasses.fields(cls)]
        facts = {name for parent in cls.__mro__[1:] for name in vars(parent)} - {*fields}  # such as `annotations`
        options = [name for name in typed if name in vars(cls) and name not in facts and "ClassVar" not in str(typed[name])]
        if options and "__dataclass_fields__" not in vars(cls):
            raise InputError(
                f"{self.module}: write @dataclass above class {cls.__name__}; without it {', '.join(options)} can't be set"
            )
        if lost := [name for name in fields if name in vars(cls) and name not in typed]:
            raise InputError(
                f"{self.module}: write the type of {', '.join(lost)} in class {cls.__name__}, as in `weight: float = 0.5`; "
                "without it the parent's default is used"
            )
        return cls

    def file(self) -> Path | None:
        """Return the source file without importing it; None if that is impossible."""
        if self.module.endswith(".py"):
            return Path(self.module)
        if self.module.startswith("benchmark."):
            return source_of(self.module)
        for point in entry_points(group=KINDS[self.kind]):
            if point.value.partition(":")[0] == self.module and point.dist is not None:
                path = Path(str(point.dist.locate_file(self.module.replace(".", "/") + ".py")))
                return path if path.is_file() else None
        return None


GIVEN: dict[tuple[str, str], Plugin] = {}  # by kind and name: the latest file that `get` was asked for


@cache
def find(kind: str) -> dict[str, Plugin]:
    """Return every built-in and installed plug-in of a kind by name; raises InputError for a name that is used twice."""
    found: dict[str, Plugin] = {}
    for plugin in [*_built_in(kind), *_installed(kind)]:
        _check_name(plugin)
        if plugin.name in found:
            raise InputError(f"two {kind}s are called {plugin.name!r}: {found[plugin.name].module} and {plugin.module}")
        found[plugin.name] = plugin
    return dict(sorted(found.items()))


def metrics(names: Iterable[str]) -> list[Plugin]:
    """Return the metrics of these names or files, each once; raises InputError if two files have one name."""
    found: dict[str, Plugin] = {}
    for plugin in (get("metric", name) for name in names):
        if found.setdefault(plugin.name, plugin) != plugin:
            paths = f"{found[plugin.name].module} and {plugin.module}"
            raise InputError(f"two metrics are called {plugin.name}: {paths}; rename a file")
    return list(found.values())


def get(kind: str, name: str) -> Plugin:
    """Return the plug-in of that name, or the one in the file of that path."""
    if name.endswith(".py"):
        if not Path(name).exists():
            raise InputError(f"there is no file {name}")
        path = Path(name).resolve()
        plugin = Plugin(kind, _constant_name(path) if kind == "data set" else path.stem, str(path))
        _check_name(plugin)
        if plugin.name in find(kind) and find(kind)[plugin.name].file() != path:
            raise InputError(f"two {kind}s are called {plugin.name!r}: {find(kind)[plugin.name].module} and {path}")
        GIVEN[kind, plugin.name] = plugin
        return plugin
    if name not in find(kind):
        known = [*find(kind), *(groups() if kind == "method" else ())]
        if Path(f"{name}.py").is_file():
            raise InputError(f"no {kind} {name!r}; for the file, give {name}.py")
        raise InputError(f"no {kind} {name!r}{nearest(name, known)}; there are {', '.join(known) or 'none'}")
    return find(kind)[name]


def at_hand(kind: str, name: str) -> Plugin | None:
    """Return the plug-in of that name, also one whose file was given in this process; None if there is none."""
    return find(kind).get(name) or GIVEN.get((kind, name))


def kind_of(path: Path) -> str:
    """Return the kind of plug-in that a .py file defines, by importing it; raises InputError unless it is one kind."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        module = _import(str(path.resolve()))
    except Exception as error:
        raise InputError(f"{path} doesn't import: {error!r}") from error
    kinds = [kind for kind in PARENTS if _defined(module, kind)]
    if len(kinds) != 1:
        parents = ", ".join(f"one {parent}" for _, parent in PARENTS.values())
        raise InputError(
            f"{path} must define {parents}: a plug-in of one kind; it defines {' and a '.join(kinds) or 'none'}"
        )
    return kinds[0]


def data_set(text: str) -> Plugin:
    """Return the data set of `NAME`, `NAME:PATH` or a .py file."""
    return get("data set", text if text.endswith(".py") else text.partition(":")[0])


def open_data_set(text: str, data: Path, options: Mapping[str, Any] | None = None) -> Any:
    """Return an instance of the data set of `text`: its folder is PATH, or else `data` / its name.

    Any data set has the options `sites`, the number of sites that its patients are dealt to, and `test_on`, another
    data set, written as `text` is, from which the test scans are.
    """
    plugin, path = data_set(text), "" if text.endswith(".py") else text.partition(":")[2]
    cls: Any = plugin.load()
    if cls.by_path != bool(path):
        right = f"{plugin.name}:PATH" if cls.by_path else plugin.name
        raise InputError(f"{text!r} must be {right}" + ("" if path else ", where PATH is its folder"))
    if path and not Path(path).exists():
        raise InputError(f"there is no folder {path}")
    own = dict(options or {})
    sites, other = own.pop("sites", 0), own.pop("test_on", "")
    if type(sites) is not int or sites < 0:
        raise InputError(f"sites of {plugin.name} is {sites!r}; it must be a whole number from 1")
    dataset = configure(cls, own, root=Path(path) if path else data / plugin.name)
    dataset.cut = sites
    if other:
        from benchmark.datasets.transfer import Transfer

        dataset = Transfer(dataset, open_data_set(str(other), data))
    dataset.cut = sites
    return dataset


def groups() -> dict[str, list[str]]:
    """Return the names of methods by group, from `methods/__init__.py`; groups in groups are resolved."""
    named = _constants(_tree(source_of("benchmark.methods")).body)["GROUPS"]

    def members(name: str) -> list[str]:
        return [member for part in named[name] for member in members(part)] if name in named else [name]

    return {name: members(name) for name in named}


def describe(plugin: Plugin) -> dict[str, Any]:
    """Return the first lines of a plug-in's docstrings (`idea`, `paper`) and the constants of its class and bases."""
    about = _stated(plugin)
    if "annotations" in about:
        from benchmark.datasets.forms import learnt  # a learner's process, which imports this file, may not

        about["annotations"] = learnt(about["annotations"])
    return about


def _stated(plugin: Plugin) -> dict[str, Any]:
    path = plugin.file()
    if path is None:
        return {"idea": f"(from {plugin.module})", "paper": ""}
    tree = _tree(path)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    wanted = [node for node in classes if node.name == plugin.cls]
    wanted = wanted or [node for node in classes if {"annotations", "modality"} & set(_class_constants(node, path))]
    if not wanted:
        return {"idea": _first_line(tree), "paper": ""}
    return {**_class_constants(wanted[-1], path), "idea": _first_line(tree), "paper": _first_line(wanted[-1])}


def role(cls: type) -> str:
    """What a method is in reports, one of ROLES or nothing; a subclass, which does something else, doesn't inherit it."""
    return str(vars(cls).get("role", ""))


def title(cls: type) -> str:
    """The name of a method or data set in figures and LaTeX tables; empty where its class, not a parent, states none."""
    return str(vars(cls).get("title", ""))


def title_of_data(dataset: Any) -> str:
    """The title of a data set; of one that is tested on another, both titles. Empty where a class states none."""
    titles = [title(type(part)) for part in dataset.parts]
    return " to ".join(titles) if all(titles) else ""


@cache
def fingerprint(plugin: Plugin, *others: Path) -> str:
    """Return the SHA-256 of the code of a plug-in's file, of what it imports of `methods/` and its package, and of others.

    It doesn't depend on comments, docstrings, blank lines and the files' places.
    """
    return _digest("\0".join(sorted(map(_code, {*_files(plugin), *others}))))


def code(plugin: Plugin, options: Mapping[str, Any], *others: Path) -> str:
    """Return the fingerprint of a method, with the code of the methods that its options name, and of other files."""
    return fingerprint(plugin, *(file for named in _named(plugin, options) for file in _files(named)), *others)


def digests(plugin: Plugin, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each file whose code `code` names, by its path, as it was when it was first read."""
    files = {file for each in (plugin, *_named(plugin, options)) for file in _files(each)}
    return {str(path): _digest(_text(path)) for path in files}


def edited(digests: Mapping[str, str]) -> list[str]:
    """Return the files that differ from their digests now."""
    return [path for path, digest in digests.items() if _digest(Path(path).read_text()) != digest]


def check_unedited(plugin: Plugin, job: Mapping[str, Any]) -> None:
    """Check that a method's code is still that of the plan (`files` and `code` of a worker's job); raises InputError."""
    if (changed := edited(job.get("files", {}))) and code(plugin, job["options"]) != job["code"]:
        raise InputError(f"{changed[0]} was edited after this run was planned; repeat the command")


def read_again() -> None:
    """Forget the code of files, which may have been edited; a plan is made from them as they are."""
    for cached in (_text, _tree, _code, _files, _naming, fingerprint):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _files(plugin: Plugin) -> tuple[Path, ...]:
    """The file of a plug-in, and the modules of `methods/` and of its own package that it imports."""
    start = plugin.file()
    if start is None:  # in an installed package, and found only by importing it
        start = Path(inspect.getfile(plugin.load()))
    return start, *_imports(start, set())


def _named(plugin: Plugin, options: Mapping[str, Any]) -> list[Plugin]:
    return [get("method", str(options[name])) for name in _naming(plugin) if name in options]


@cache
def _naming(plugin: Plugin) -> tuple[str, ...]:
    return tuple(_stated(plugin).get("methods", ()))


def configure(cls: type, options: Mapping[str, Any], **fixed: Any) -> Any:
    """Return an instance of a dataclass with these options; raises InputError for unknown names and wrong values."""
    hints = get_type_hints(cls, include_extras=True)
    fields = [f for f in dataclasses.fields(cls) if f.init and f.name not in fixed]
    names = [f.name for f in fields]
    for name in [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]:
        if name not in options:
            raise InputError(f"{cls.__name__} needs {name}, which has no default; `--set METHOD.{name}=VALUE` states it")
    values = {}
    for name, value in options.items():
        if name not in names:
            raise InputError(
                f"{cls.__name__} has no {name!r}{nearest(name, names)}; it has {', '.join(names) or 'no options'}"
            )
        try:
            bounded: Any = Annotated[hints[name], Field(ge=0, allow_inf_nan=False)] if _tuned(hints[name]) else hints[name]
            values[name] = TypeAdapter(bounded).validate_python(value)
        except ValidationError as error:
            raise InputError(f"{cls.__name__}, {name}: {explain(error)}") from error
    try:
        return cls(**fixed, **values)
    except ValueError as error:
        raise InputError(f"{cls.__name__}: {error}") from error


def _tuned(hint: Any) -> bool:
    from benchmark.seal.contract import Range  # it imports numpy, without which methods are listed

    return any(isinstance(each, Range) for each in getattr(hint, "__metadata__", ()))


def learners(method: Any) -> list[Any]:
    """Return the class of a method, and those of the methods that its options name: all of them learn from the data."""
    return [type(method), *(get("method", str(getattr(method, name))).load() for name in method.methods)]


def needs(cls: type) -> tuple[str, ...]:
    """Return the feature maps that a method needs of the network; raises InputError where they are no such names."""
    stated = getattr(cls, "needs", ())
    if not isinstance(stated, tuple) or not all(re.fullmatch(r"(encoder|decoder)/\d+", str(each)) for each in stated):
        raise InputError(f'{cls.__name__}: needs is {stated!r}; it must be a tuple of maps, such as ("encoder/8",)')
    return stated


def options_of(instance: Any) -> dict[str, Any]:
    """Return the options of an instance."""
    return {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance) if f.init}


def options_of_data(dataset: Any) -> dict[str, Any]:
    """Return the options of a data set; `sites` and `test_on`, which any has, where they are given."""
    trained, *tested = dataset.parts
    options = options_of(trained) | ({"sites": dataset.cut} if dataset.cut else {})
    options |= {"test_on": tested[0].name} if tested else {}
    return {name: value for name, value in options.items() if name != "root"}


def source_of(module: str) -> Path:
    """Return the file of one of this project's modules."""
    spec = importlib.util.find_spec("benchmark")
    assert spec is not None
    parts = module.split(".")[1:]
    for folder in benchmark.__path__:
        base = Path(folder, *parts)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    raise InputError(f"there is no module {module}")


def _import(module: str) -> Any:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    name = f"{PREFIX}{Path(module).stem}"
    if name in sys.modules and sys.modules[name].__file__ == module:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, module)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


def _defined(module: Any, kind: str) -> list[type]:
    """Return the classes of a kind that a module defines, without imported ones; abstract ones if there are no others."""
    home, name = PARENTS[kind]
    parent = getattr(importlib.import_module(home), name)
    classes = [member for member in vars(module).values() if inspect.isclass(member) and issubclass(member, parent)]
    own = [cls for cls in classes if cls.__module__ == module.__name__]
    return [cls for cls in own if not inspect.isabstract(cls)] or own


def _built_in(kind: str) -> Iterator[Plugin]:
    if kind in ("metric", "figure"):  # the suite's own are not plug-ins
        return
    package = KINDS[kind]
    init = source_of(package)
    support = _constants(_tree(init).body)["SUPPORT"]
    for path in sorted(init.parent.glob("[a-z]*.py")):
        if path.stem in support:
            continue
        if kind == "method":
            yield Plugin(kind, path.stem, f"{package}.{path.stem}")
            continue
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef) and (name := _constants(node.body).get("name")):
                yield Plugin(kind, name, f"{package}.{path.stem}", node.name)


def _installed(kind: str) -> Iterator[Plugin]:
    for point in entry_points(group=KINDS[kind]):
        module, _, cls = point.value.partition(":")
        yield Plugin(kind, point.name, module, cls)


def _check_name(plugin: Plugin) -> None:
    """Check that a name can be a folder's."""
    if not isinstance(plugin.name, str) or not NAME.fullmatch(plugin.name):
        raise InputError(
            f"{plugin.module}: {plugin.name!r:.100} can't name a {plugin.kind}; names are letters, digits, _, ., + and -, "
            "at most 100"
        )


def _constant_name(path: Path) -> str:
    """Return the `name` of the data set in a file."""
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef) and (name := _constants(node.body).get("name")):
            return str(name)
    raise InputError(f"{path} has no class with a `name`; a data set must have one")


@cache
def _text(path: Path) -> str:
    return path.read_text()


@cache
def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(_text(path))
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (OSError, ValueError) as error:  # also where it is not text
        raise InputError(f"{path} is not a Python file: {error}") from error


def _first_line(node: ast.Module | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _constants(body: list[ast.stmt]) -> dict[str, Any]:
    """Return the literal values that are assigned, by name."""
    values = {}
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and node.value is not None:
            try:
                values[target.id] = ast.literal_eval(node.value)
            except (ValueError, TypeError):  # not a literal, such as one with a list as a key
                continue
    return values


def _class_constants(node: ast.ClassDef, path: Path) -> dict[str, Any]:
    """Return the constants of a class and of those of its bases that are in its file or in this project."""
    inherited: dict[str, Any] = {}
    for base in node.bases:
        if isinstance(base, ast.Name):
            for where in [path, *_origins(base.id, path)]:
                for other in _tree(where).body:
                    if isinstance(other, ast.ClassDef) and other.name == base.id:
                        inherited = {**_class_constants(other, where), **inherited}
    return {**inherited, **_constants(node.body)}


def _origins(name: str, path: Path) -> list[Path]:
    """Return the project's files that a name was imported from."""
    return [
        source_of(node.module)
        for node in _tree(path).body
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith("benchmark.")
        and any((alias.asname or alias.name) == name for alias in node.names)
    ]


def _imports(path: Path, seen: set[Path]) -> set[Path]:
    """Return the modules of `methods/` and of a file's own package that it imports, directly or not.

    Names that are imported from `methods/` are traced to their files.
    """
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            modules = [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [(alias.name, "") for alias in node.names]
        else:
            continue
        for module, name in modules:
            for file in _source_of_import(module, name) or _source_in_package(path, module, name):
                if file not in seen:
                    seen.add(file)
                    _imports(file, seen)
    return seen


def _source_of_import(module: str, name: str) -> list[Path]:
    """Return the files that define a name imported from a module of `methods/`."""
    if not module.startswith("benchmark.methods"):
        return []
    file = source_of(module)
    if file.name != "__init__.py" or not name:
        return [file]
    submodule = file.parent / f"{name}.py"
    return [submodule] if submodule.is_file() else _origins(name, file) or [file]


def _source_in_package(path: Path, module: str, name: str) -> list[Path]:
    """Return the file that a file's import names, where both are in one package that is not this suite."""
    package = list(itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), path.parents))
    level = len(module) - len(module.lstrip("."))
    if not package or package[-1].name == "benchmark" or (not level and module.split(".")[0] != package[-1].name):
        return []
    root = path.parents[level - 1] if level else package[-1].parent
    start = root.joinpath(*module[level:].split("."))
    places = (start / f"{name}.py", start / name / "__init__.py", start / "__init__.py", start.with_suffix(".py"))
    return [file for file in places if file.is_file()][:1]


@cache
def _code(path: Path) -> str:
    """Return the code of a file without comments, docstrings and blank lines."""
    text = _text(path)
    lines = text.split("\n")  # not splitlines, which also ends lines at form feeds
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            doc = node.body[0]
            first, last = doc.lineno - 1, doc.end_lineno - 1  # type: ignore[operator]
            rest = lines[first].encode()[: doc.col_offset] + lines[last].encode()[doc.end_col_offset :]
            lines[first : last + 1] = [rest.decode(), *[""] * (last - first)]
    return "\n".join(line.rstrip() for line in lines if line.strip())
