"""What a model may write: a text, or one call of one of the tools, whose arguments their JSON Schema allows.

By the library `llguidance`, which says before each token which ones may come next
(https://github.com/guidance-ai/llguidance): even weights at random write valid calls.
"""

import json
from collections.abc import Mapping
from threading import Event
from typing import Any

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.decoder.forms import Form
from plimsoll.learning.decoder.tools import Tool
from plimsoll.learning.errors import NotSure, ToolSchemaError, WeightsError

try:
    import llguidance.hf
    import numpy as np
    import torch
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer
    from transformers import LogitsProcessor, StoppingCriteria
except ImportError as error:
    raise MissingExtra(error.name or "llguidance", extra="learning") from error

__all__ = ["Constraint", "GivenUp", "Grammar"]

_JSON = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "json_allowed_escapes": 'nrbtf\\"',  # no \u: half of a surrogate pair is no text
}
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f"
_TEXT = rf"/\s{{0,4}}[^\s<{{{_CONTROL}][^{_CONTROL}]*/"  # a text never begins as a call does
_LINE = rf"/ {{0,2}}[^\s<{{{_CONTROL}][^\n{_CONTROL}]*/"
_LIMITS = LLParserLimits(verbose_errors=False)


class Grammar:
    """Grammars for one model: its tokenizer, `rows` of logits, the tokens that end a text, and its form of calls."""

    def __init__(
        self, directory: str, tokenizer: Any, *, rows: int, ends: list[int], form: Form, one_line: bool
    ) -> None:
        try:
            self._tokens: Any = llguidance.hf.from_tokenizer(tokenizer, n_vocab=rows, eos_token=ends)
        except Exception as error:  # the library raises plain ones
            raise WeightsError(directory, f"what its tokenizer's tokens stand for is not known: {error}") from error
        self._text = f"TEXT: {_LINE}\ntext_end: /\\n?/" if one_line else f"TEXT: {_TEXT}\ntext_end:"
        self._form = form
        self._opening = _marks(form.opening, tokenizer, self._tokens)
        self._closing = _marks(form.closing, tokenizer, self._tokens)

    def matcher(self, tools: Mapping[str, Tool]) -> Any:
        """What follows an answer with these tools, token by token. Raises `ToolSchemaError`, naming the keyword."""
        matcher = LLMatcher(self._tokens, self._lark(tools), limits=_LIMITS)
        if not matcher.is_error():
            return matcher
        for tool in tools.values():
            said = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(_schema(tool)), limits=_LIMITS)
            if said:
                what = " ".join(said.split())
                raise ToolSchemaError(tool.name, f"no model can be held to its JSON Schema here: {what}")
        raise Misuse(f"the JSON Schemas of these tools are too much together: {matcher.get_error()}")

    def _lark(self, tools: Mapping[str, Tool]) -> str:
        calls = [f"call_{number}" for number in range(len(tools))]
        lines = ["%llguidance {}", f"start: {' | '.join(['text text_end', *calls])}", "text[capture]: TEXT", self._text]
        for number, tool in enumerate(tools.values()):
            begun = json.dumps(f'{{"name": {json.dumps(tool.name)}, "{self._form.arguments}": ')
            lines += [
                f'call_{number}: {self._opening} {begun} arguments_{number} "}}" {self._closing}',
                f"arguments_{number}[capture]: %json {json.dumps(_schema(tool))}",
            ]
        return "\n".join(lines) + "\n"


class Constraint(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped to us
    """Keeps what is generated to a grammar, for a batch of one."""

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher
        self._begun = False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores, of shape (1, rows), without those of tokens that may not come next."""
        if self._begun:
            self.matcher.consume_token(int(input_ids[0, -1]))
        self._begun = True
        allowed = np.unpackbits(np.frombuffer(self.matcher.compute_bitmask(), np.uint8), bitorder="little")
        if self.matcher.is_error():
            raise NotSure(f"its answer could not be followed: {self.matcher.get_error()}")
        if torch.isnan(scores).any():  # the first token that may come next would be taken for the best
            raise NotSure(
                "what it says of the next token is no number: its weights are broken, or its numbers too large"
            )
        mask = torch.from_numpy(allowed[: scores.shape[1]].astype(bool)).to(scores.device)
        return scores.masked_fill(~mask, -torch.inf)


class GivenUp(StoppingCriteria):  # type: ignore[misc]
    """Ends a generation, before its next token, that nobody waits for any more."""

    def __init__(self, event: Event) -> None:
        self._event = event

    def __call__(self, input_ids: Any, scores: Any, **_options: Any) -> Any:
        return torch.full((input_ids.shape[0],), self._event.is_set(), dtype=torch.bool, device=input_ids.device)


def _schema(tool: Tool) -> dict[str, Any]:
    return {**tool.closed, "x-guidance": _JSON}


def _marks(text: str, tokenizer: Any, tokens: LLTokenizer) -> str:
    """A form's mark in the grammar: tokens of their own by their ids, all else by its letters."""
    marks: list[str] = []
    while text:
        found = [(text.find(name), -len(name), name) for name in _own(tokenizer, tokens) if name in text]
        if not found:
            return " ".join([*marks, json.dumps(text)])
        at, _, name = min(found)
        marks += [json.dumps(text[:at])] * (at > 0) + [f"<[{tokenizer.convert_tokens_to_ids(name)}]>"]
        text = text[at + len(name) :]
    return " ".join(marks)


def _own(tokenizer: Any, tokens: LLTokenizer) -> list[str]:
    return [token.content for id, token in tokenizer.added_tokens_decoder.items() if tokens.is_special_token(id)]
