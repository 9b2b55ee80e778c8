"""The grammar of approval rules: source text → tree. Nothing is evaluated here.

    rule        or
    or          and ("or" and)*
    and         not ("and" not)*
    not         "not" not | comparison
    comparison  sum (("<" | "<=" | ">" | ">=" | "==" | "!=" | "in" | "not" "in") sum)*
    sum         product (("+" | "-") product)*
    product     unary (("*" | "/" | "%") unary)*
    unary       "-" unary | primary
    primary     number | text | "true" | "false" | "null" | name ("." name)*
                | function "(" [or ("," or)*] ")" | "(" or ")" | "[" [or ("," or)*] "]"

Chains (`a and b and c`, `a + b - c`) are one node with many operands, so that a tree is never deeper than
its source is nested; that, the length and the size of lists are bounded.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from plimsoll.contract.rule_tree import (
    Argument,
    Arithmetic,
    Comparison,
    FunctionCall,
    ListOf,
    Literal,
    Logic,
    Negative,
    Node,
    Not,
)
from plimsoll.core.errors import Misuse

__all__ = [
    "FUNCTIONS",
    "MAX_DEPTH",
    "MAX_LIST",
    "MAX_SOURCE",
    "RuleSyntaxError",
    "parse_rule",
]

MAX_SOURCE = 1000
"""The longest rule, in characters."""
MAX_DEPTH = 20
"""How deep parentheses, lists, functions, `not` and minus signs may nest."""
MAX_LIST = 100
"""The most items in a list, or operands of a function."""
_MAX_NUMBER = 40

FUNCTIONS: dict[str, tuple[int, int]] = {
    "abs": (1, 1),
    "ends_with": (2, 2),
    "given": (1, 1),
    "len": (1, 1),
    "lower": (1, 1),
    "max": (1, MAX_LIST),
    "min": (1, MAX_LIST),
    "starts_with": (2, 2),
    "upper": (1, 1),
}
"""Every function, with the fewest and the most operands that it takes."""


class RuleSyntaxError(Misuse):
    """A rule cannot be read. `column` counts from 1; `what` is wrong there, `fix` would be right."""

    def __init__(self, source: str, *, column: int, what: str, fix: str) -> None:
        self.source = source
        self.column = column
        self.what = what
        self.fix = fix
        super().__init__(f"rule {source[:80]!r}, column {column}: {what} → {fix}")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, name, symbol, end
    text: str
    column: int


_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<number>[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<name>[^\W\d]\w*)
    | (?P<symbol>\*\*|//|&&|\|\||==|!=|<=|>=|[-+*/%()\[\],.<>])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}
_WORDS = frozenset({"and", "or", "not", "in", "true", "false", "null", "True", "False", "None"})
_VALUES: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "null": None,
    "True": True,
    "False": False,
    "None": None,
}
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
_HINTS = {
    "=": "write == to compare",
    "&": "write and",
    "&&": "write and",
    "|": "write or",
    "||": "write or",
    "!": "write not",
    "**": "rules have no powers; multiply",
    "//": "rules have no whole division; write /",
    "is": "write == to compare",
    '"': "close the text with the quote that opened it",
    "'": "close the text with the quote that opened it",
    "": "finish the rule",
}


def _hint(text: str) -> str:
    return _HINTS.get(text, "write something like amount > 50")


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = self._tokenize()
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        if self._token.kind == "end":
            self._fail(self._token, "the rule is empty", "write a condition, or true for always")
        node = self._or()
        if self._token.kind != "end":
            self._unexpected("the end of the rule, or an operator")
        return node

    # -- tokens

    def _tokenize(self) -> list[_Token]:
        if len(self._source) > MAX_SOURCE:
            here = _Token("end", "", MAX_SOURCE + 1)
            self._fail(here, f"{len(self._source)} characters long", f"at most {MAX_SOURCE}; split it up")
        tokens: list[_Token] = []
        for match in _TOKEN.finditer(self._source):
            token = _Token(match.lastgroup or "other", match.group(), match.start() + 1)
            if token.kind == "other" or token.text in ("**", "//", "&&", "||"):
                self._fail(token, f"{token.text!r} means nothing in a rule", _hint(token.text))
            if token.kind == "name" and tokens and self._touches_number(tokens[-1], token):
                text = tokens[-1].text + token.text
                self._fail(tokens[-1], f"{text!r} is neither a number nor a name", "put text in quotes")
            if token.kind != "space":
                tokens.append(token)
        tokens.append(_Token("end", "", len(self._source) + 1))
        return tokens

    @staticmethod
    def _touches_number(before: _Token, token: _Token) -> bool:
        return before.kind == "number" and before.column + len(before.text) == token.column

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._token
        self._at += 1
        return token

    def _accept(self, *texts: str) -> _Token | None:
        """The token that comes next, taken, when it is one of these symbols or words."""
        if self._token.kind in ("symbol", "name") and self._token.text in texts:
            return self._next()
        return None

    def _expect(self, text: str) -> None:
        if self._accept(text) is None:
            self._unexpected(repr(text))

    def _unexpected(self, wanted: str) -> NoReturn:
        token = self._token
        found = "the rule ends" if token.kind == "end" else f"{token.text!r} comes"
        self._fail(token, f"{found} where {wanted} was expected", _hint(token.text))

    def _fail(self, token: _Token, what: str, fix: str) -> NoReturn:
        raise RuleSyntaxError(self._source, column=token.column, what=what, fix=fix)

    def _deeper(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(token, f"nested more than {MAX_DEPTH} deep", "write it flatter")

    # -- the grammar, one method each

    def _or(self) -> Node:
        return self._logic("or", self._and)

    def _and(self) -> Node:
        return self._logic("and", self._not)

    def _logic(self, operator: str, operand: Callable[[], Node]) -> Node:
        column = self._token.column
        operands = [operand()]
        while self._accept(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else Logic(column, operator, tuple(operands))

    def _not(self) -> Node:
        token = self._accept("not")
        if token is None:
            return self._comparison()
        self._deeper(token)
        node = Not(token.column, self._not())
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        column = self._token.column
        first = self._sum()
        rest: list[tuple[str, Node]] = []
        while operator := self._comparison_operator():
            rest.append((operator, self._sum()))
        return Comparison(column, first, tuple(rest)) if rest else first

    def _comparison_operator(self) -> str | None:
        if self._token.text == "not" and self._tokens[self._at + 1].text == "in":
            self._at += 2
            return "not in"
        token = self._accept("in", *_COMPARISONS)
        return token.text if token else None

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._arithmetic(("*", "/", "%"), self._unary)

    def _arithmetic(self, operators: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        column = self._token.column
        first = operand()
        rest: list[tuple[str, Node]] = []
        while token := self._accept(*operators):
            rest.append((token.text, operand()))
        return Arithmetic(column, first, tuple(rest)) if rest else first

    def _unary(self) -> Node:
        token = self._accept("-")
        if token is None:
            return self._primary()
        self._deeper(token)
        node = Negative(token.column, self._unary())
        self._depth -= 1
        return node

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "number":
            return self._number(self._next())
        if token.kind == "text":
            return self._text(self._next())
        if token.kind == "name" and token.text in _VALUES:
            return Literal(self._next().column, _VALUES[token.text])
        if token.kind == "name" and token.text not in _WORDS:
            return self._name(self._next())
        if self._accept("("):
            self._deeper(token)
            node = self._or()
            self._expect(")")
            self._depth -= 1
            return node
        if self._accept("["):
            return ListOf(token.column, self._items(token, "]"))
        self._unexpected("a value")

    def _items(self, opening: _Token, closing: str) -> tuple[Node, ...]:
        self._deeper(opening)
        items: list[Node] = []
        if not self._accept(closing):
            items.append(self._or())
            while self._accept(","):
                items.append(self._or())
            self._expect(closing)
        if len(items) > MAX_LIST:
            self._fail(opening, f"{len(items)} items", f"at most {MAX_LIST}")
        self._depth -= 1
        return tuple(items)

    def _number(self, token: _Token) -> Literal:
        if len(token.text) > _MAX_NUMBER:
            self._fail(token, "this number is too long", f"at most {_MAX_NUMBER} digits")
        text = token.text.replace("_", "")
        value = int(text) if text.isdigit() else float(text)
        if not math.isfinite(value):
            self._fail(token, f"{token.text} is more than a number can hold", "write a smaller number")
        return Literal(token.column, value)

    def _text(self, token: _Token) -> Literal:
        def unescape(match: re.Match[str]) -> str:
            if match[1] not in _ESCAPES:
                self._fail(token, f"{match[0]!r} means nothing in a text", r"only \\ \" \' \n \t do")
            return _ESCAPES[match[1]]

        return Literal(token.column, _ESCAPE.sub(unescape, token.text[1:-1]))

    def _name(self, token: _Token) -> Node:
        if opening := self._accept("("):
            return self._function(token, self._items(opening, ")"))
        path = [token.text]
        while self._accept("."):
            if self._token.kind != "name":
                self._unexpected("the name of a field")
            path.append(self._next().text)
        if len(path) > MAX_DEPTH:
            self._fail(token, f"nested more than {MAX_DEPTH} deep", "write it flatter")
        return Argument(token.column, tuple(path))

    def _function(self, token: _Token, operands: tuple[Node, ...]) -> FunctionCall:
        name = token.text
        if name not in FUNCTIONS:
            near = difflib.get_close_matches(name, FUNCTIONS, n=1)
            fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(FUNCTIONS)}"
            self._fail(token, f"no function {name!r}", fix)
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(operands) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            self._fail(token, f"{name} is given {len(operands)} operands", f"it takes {wanted}")
        if name == "given" and not isinstance(operands[0], Argument):
            self._fail(token, "given is not asked about an argument", "write given(name)")
        return FunctionCall(token.column, name, operands)


def parse_rule(source: str) -> Node:
    """The tree of `source`. Raises `RuleSyntaxError`, and nothing else, when it is not a rule."""
    return _Parser(source).parse()
