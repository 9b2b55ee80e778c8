"""A conversation as tokens, by the chat template of the model's tokenizer.

Only the template sets control tokens. What is said in a conversation is encoded as ordinary text, whatever it looks
like: otherwise a customer who writes `<|im_end|>` ends their own turn, and speaks on as the assistant.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.decoder.conversation import Turn
from plimsoll.learning.decoder.forms import PLAIN, Form, as_chat, as_plain_chat, as_tools, form_of
from plimsoll.learning.decoder.tools import Tool
from plimsoll.learning.errors import NotSure, WeightsError

try:
    from transformers import PreTrainedTokenizerFast
except ImportError as error:
    raise MissingExtra(error.name or "transformers", extra="learning") from error

__all__ = ["OWN_TEMPLATE", "Prompter"]

OWN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: "
    "{{ message['content'].splitlines() | join('\n  ') }}\n{% endfor %}Assistant:"
)
"""For a tokenizer that brings none. A turn is a line with its role; what follows in it is indented, so that nobody can
begin another's turn."""
_TOLD = """You can call these tools:
{tools}
To call one, answer with its call and nothing else: {{"name": "TOOL", "arguments": {{…}}}}
Otherwise answer in words."""


class Prompter:
    """Makes prompts for one model. `form` is how that model writes calls; `one_line`: its answers end with the line."""

    def __init__(self, tokenizer: Any) -> None:
        """Raises `WeightsError` for a tokenizer that is not of the library `tokenizers`."""
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise WeightsError(
                str(tokenizer.name_or_path), "its tokenizer has no tokenizer.json: save it with its fast version"
            )
        controls = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.content.isspace()]
        tokenizer.chat_control_tokens = controls  # all that are added, special or not
        self._controls = tuple(controls)
        self._tokenizer = tokenizer
        theirs = tokenizer.chat_template
        theirs = theirs.get("tool_use") or theirs.get("default") if isinstance(theirs, dict) else theirs
        self.one_line = not theirs
        self._template = theirs or _beginning(tokenizer) + OWN_TEMPLATE
        self.form: Form = form_of(self._template)

    def ids(self, turns: Sequence[Turn], tools: Mapping[str, Tool]) -> list[int]:
        """The tokens of the prompt, up to where the model's answer begins. Raises `NotSure`."""
        names = [name for turn in turns for call in turn.calls for name in _names(call.arguments)]
        names += [name for tool in tools.values() for name in _names(tool.parameters)]
        if any(control in name for name in names for control in self._controls):
            raise NotSure("a field's name in this conversation holds what is a control token to this model")
        if self.form is not PLAIN:
            return self._rendered(as_chat(turns), as_tools(tools.values()) or None)
        told = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in as_tools(tools.values()))
        chat = as_plain_chat(turns, tools, told=_TOLD.format(tools=told))
        try:
            return self._rendered(chat, None)
        except NotSure:
            if chat[0]["role"] != "system" or len(chat) == 1 or chat[1]["role"] != "user":
                raise
        first = {"role": "user", "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}
        return self._rendered([first, *chat[2:]], None)  # some templates know no system prompt

    def _rendered(self, chat: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.apply_chat_template(
                chat,
                tools=tools,
                chat_template=self._template,
                add_generation_prompt=True,
                sanitize_control_tokens=True,
                return_dict=False,
                enable_thinking=False,  # those that could think aloud would do so until they are cut off
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            # Not the error's own words: they may quote the conversation.
            raise NotSure(
                f"this model's chat template does not take this conversation ({type(error).__name__})"
            ) from error
        return ids


def _beginning(tokenizer: Any) -> str:
    """What a text begins with, where this tokenizer gives it a beginning."""
    begins = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer("")["input_ids"]
    return "{{ bos_token }}" if begins else ""


def _names(value: Any) -> Iterator[str]:
    """All names of fields, at any depth."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield str(name)
            yield from _names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _names(each)
