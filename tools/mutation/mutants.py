"""Mutants: copies of a function with one small change each, and how one takes its function's place."""

import ast
import contextlib
import difflib
import fnmatch
import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import libcst
from libcst import matchers
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor, deep_replace
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import get_ignored_lines

__all__ = ["Functions", "Mutant", "Place", "functions_in", "mutants_of"]

Place = tuple[str, str, int]
"""A function: its file, its qualified name, and its first line."""

Functions = Mapping[Place, Sequence[FunctionType]]
"""The functions that were made from a place: one, or as many as its decorators or closures made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change. `lines` are those of the statement that it is in; `name` is the function's with a number."""

    name: str
    place: Place
    lines: range
    source: str
    before: str
    after: str

    @property
    def module(self) -> str:
        """The path of the module, as it is shown."""
        return self.place[0]

    def difference(self) -> str:
        """The lines that it changes, as a patch shows them."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=0, lineterm="")
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))

    def put_in(self, functions: Functions) -> None:
        """Every function made from this place does what the mutant does. Raises `ValueError` where it cannot."""
        mutated = self.source.replace(self.before, self.after, 1)
        path, name, line = self.place
        module = compile(mutated, path, "exec", dont_inherit=True)
        code = next(each for each in _codes(module) if (each.co_qualname, each.co_firstlineno) == (name, line))
        arguments = next(each.args for each, place in _functions(ast.parse(mutated), path) if place == self.place)
        for function in functions[self.place]:
            function.__code__ = code
            _set_defaults(function, arguments)


def mutants_of(path: Path, patterns: Sequence[str]) -> list[Mutant]:
    """The mutants of a module whose names match one of `patterns`."""
    source = path.read_text(encoding="utf-8")
    wrapper = MetadataWrapper(libcst.parse_module(source))
    visitor = _EveryFunction(mutation_operators, get_ignored_lines(str(path), source, wrapper))
    wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    functions = list(_functions(ast.parse(source), str(path)))
    numbers: dict[Place, int] = defaultdict(int)
    dotted = ".".join(path.with_suffix("").parts[path.parts.index("plimsoll") :])
    found = []
    for mutation in visitor.mutations:
        function = mutation.contained_by_top_level_function
        if not isinstance(function, libcst.FunctionDef) or _changes_case(mutation.original_node, mutation.mutated_node):
            continue
        line = positions[mutation.original_node if mutation.original_node in positions else function].start.line
        node, place = next(each for each in functions if _start(each[0]) <= line <= _end(each[0]))
        numbers[place] += 1
        name = f"{dotted}.{place[1]}#{numbers[place]}"
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        mutated = deep_replace(function, mutation.original_node, mutation.mutated_node)
        before, after = (_code(wrapper.module, each, method="." in place[1]) for each in (function, mutated))
        lines = _statement(node, line)
        found.append(Mutant(name=name, place=place, lines=lines, source=source, before=before, after=after))
    return found


def functions_in(paths: Sequence[Path]) -> dict[Place, list[FunctionType]]:
    """The functions of these modules, as far as they have been imported."""
    files = {str(path.resolve()): str(path) for path in paths}
    found: dict[Place, list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename in files:
            code = each.__code__
            found[files[code.co_filename], code.co_qualname, code.co_firstlineno].append(each)
    return found


class _EveryFunction(MutationVisitor):
    """Also mutates decorated functions, which mutmut cannot: the code is replaced and the decorators stay.

    A function of a protocol does nothing, so that nothing in it is mutated.
    """

    def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.FunctionDef) and _ends_in_dots(node):
            return True
        if isinstance(node, libcst.FunctionDef) and node.decorators:
            node = node.with_changes(decorators=())
        return super()._skip_node_and_children(node)


def _ends_in_dots(function: libcst.FunctionDef) -> bool:
    dots = matchers.SimpleStatementLine(body=[matchers.Expr(matchers.Ellipsis())])
    return matchers.matches(function.body.body[-1], dots)


def _code(module: libcst.Module, function: Any, *, method: bool) -> str:
    """The function as it stands in its file; a method is indented."""
    if not method:
        return module.code_for_node(function)
    return module.code_for_node(libcst.IndentedBlock(body=[function])).removeprefix("\n")


def _changes_case(before: libcst.CSTNode, after: libcst.CSTNode) -> bool:
    """Whether nothing but capitals differ: SQL does not care, and where it matters, XX on either side does too."""
    if isinstance(before, libcst.SimpleString) and isinstance(after, libcst.SimpleString):
        return before.value.casefold() == after.value.casefold()
    return False


def _functions(tree: ast.Module, path: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, Place]]:
    for prefix, body in [("", tree.body), *((f"{c.name}.", c.body) for c in tree.body if isinstance(c, ast.ClassDef))]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node, (path, prefix + node.name, _start(node))


def _start(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _statement(function: ast.stmt, line: int) -> range:
    """The lines of the innermost statement at `line`; of one with a body, those before its body."""
    around = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node.lineno <= line <= _end(node)]
    innermost = max(around, key=lambda node: node.lineno)
    if isinstance(innermost, ast.FunctionDef | ast.AsyncFunctionDef):  # a default: every call may use it
        return range(innermost.body[0].lineno, _end(innermost) + 1)
    body: Any = getattr(innermost, "body", None) or getattr(innermost, "cases", None)
    if body is None:
        return range(innermost.lineno, _end(innermost) + 1)
    first = body[0].pattern.lineno if isinstance(body[0], ast.match_case) else body[0].lineno
    return range(innermost.lineno, max(first, innermost.lineno + 1))


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _set_defaults(function: FunctionType, arguments: ast.arguments) -> None:
    """Defaults that are literals. Others are not mutated."""
    defaults = list(function.__defaults__ or ())
    for place, node in enumerate(arguments.defaults):
        with contextlib.suppress(ValueError):
            defaults[place] = ast.literal_eval(node)
    function.__defaults__ = tuple(defaults) or None
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        with contextlib.suppress(ValueError):
            if default is not None and function.__kwdefaults__ is not None:
                function.__kwdefaults__[argument.arg] = ast.literal_eval(default)
