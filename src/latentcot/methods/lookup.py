"""Tell from its text whether a dotted name is a row: naming a class must not run a module that holds none."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name

from latentcot.methods.base import Method


def trace_method(path: str, seen: tuple[str, ...] = ()) -> list[str]:
    """Return what is imported for the row `path`: it, its module, and those that it is based on; nothing if it is none.

    Nothing is imported here. Of a module that is not in memory, the text is read: its imports, its classes' bases.
    """
    module, _, name = path.rpartition(".")
    if module in sys.modules:
        # Not by getattr, for which many packages import what is asked for.
        kind = Method if path == "latentcot.Method" else vars(sys.modules[module]).get(name)
        return [path, f"{kind.__module__}.{name}"] if isinstance(kind, type) and issubclass(kind, Method) else []
    for origin in _origins(module).get(name, []) if module and path not in seen else ():
        if trace := trace_method(origin, (*seen, path)):
            return [path, module, *trace]
    return []


def loaded_methods() -> list[str]:
    """Return the dotted names of all rows in memory, where they are defined and in the packages around, and modules."""
    kinds = Method.__subclasses__()
    for kind in kinds:
        kinds += [subclass for subclass in kind.__subclasses__() if subclass not in kinds]
    modules = {kind.__module__ for kind in kinds}
    places = [(kind.__module__.split("."), kind.__name__) for kind in kinds]
    return [
        *modules,
        *(".".join([*parts[:number], name]) for parts, name in places for number in range(len(parts), 0, -1)),
    ]


def _origins(module: str) -> dict[str, list[str]]:
    """Return where each name of a module comes from: an import from elsewhere, a class from its bases."""
    spec = _find_module(module)
    origins: dict[str, list[str]] = {}
    stars: list[str] = []
    if spec is None:
        return origins
    for node in _statements(_parse(spec)):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base).partition(".") for base in node.bases]
            origins[node.name] = [
                origin + dot + rest
                for root, dot, rest in bases
                for origin in origins.get(root, [f"{star}.{root}" for star in stars])
            ]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                origins[alias.asname or root] = [alias.name if alias.asname else root]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), spec.parent)
            stars += [source for alias in node.names if alias.name == "*"]
            origins |= {alias.asname or alias.name: [f"{source}.{alias.name}"] for alias in node.names}
    return origins


def _find_module(module: str) -> ModuleSpec | None:
    """Return where a module lies, without importing the packages that it is in."""
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # Of a module without a place, as the one that is run.
        return None
    for number, _ in enumerate(parts, 2):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(module.split(".")[:number]), spec.submodule_search_locations)
    return spec


def _parse(spec: ModuleSpec) -> ast.Module:
    """Return a module's syntax tree; an empty one of a module without a text that can be read."""
    try:
        source = spec.loader.get_source(spec.name)  # type: ignore[union-attr]
        return ast.parse(source or "")
    except (AttributeError, ImportError, OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements that a module's import runs, those inside `if` and `try` too."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _statements(child)
