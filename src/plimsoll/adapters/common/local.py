"""Models of one's own in any framework: what is loaded of them, and what their answers must be to be handed on.

An adapter writes its conversation as OpenAI's chat completions have it, and makes its framework's answer of the reply.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.contract.model import Contract
from plimsoll.contract.shapes import AgentShape
from plimsoll.core.calls import Fault
from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import Misuse, OperationFailed, OutputRejected
from plimsoll.learning.errors import NotSure
from plimsoll.learning.loading import load_local
from plimsoll.learning.local import LocalModel, LocalReply, ToolChecking

__all__ = ["LocalModels", "answered", "function_tool", "marked", "texts_alone"]


class LocalModels:
    """The models of one's own of a contract, by the names of their rungs: loaded now, but for those that are `given`.

    Raises `WeightsError` and `MissingExtra` for one that cannot be loaded from `directory`, the contract's folder.
    """

    def __init__(self, contract: Contract, given: Mapping[str, object], *, directory: Path) -> None:
        self._served = {name for name, section in contract.models.items() if section.is_served}
        self._models = {name: model for name, model in given.items() if isinstance(model, LocalModel)}
        for name, section in contract.models.items():
            if section.local is not None and section.is_model and name not in given:
                self._models[name] = load_local(section.local, base=directory)

    def get(self, name: str) -> LocalModel | None:
        """The model of a rung; None where that is no model of one's own."""
        return self._models.get(name)

    def here(self) -> dict[str, LocalModel]:
        """Those that answer in this process: all but those behind an address."""
        return {name: model for name, model in sorted(self._models.items()) if name not in self._served}

    def check(self, shape: AgentShape) -> None:
        """Asks those that can say so whether they could call the agent's tools. Raises `Misuse` where one could not.

        Tools whose arguments nobody knows are left out.
        """
        tools = [function_tool(tool.name, tool.description, tool.parameters) for tool in shape.tools if tool.parameters]
        for model in self._models.values():
            if isinstance(model, ToolChecking):
                model.check(tools)

    def digests(self) -> dict[str, str]:
        """Which weights answer here, by rung."""
        return {name: model.digest for name, model in self.here().items()}


async def answered(
    model: LocalModel, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, rung: str
) -> LocalReply:
    """What the model of `rung` says in this conversation: a text, or calls of these tools with arguments in JSON.

    Raises `NotSure` where it declines, and `OutputRejected` for anything that no agent could act on.
    """
    told = [{**message, "content": _text_of(message)} for message in messages]
    try:
        reply = await model.reply(told, tools)
    except NotSure as error:  # by this very name the pipeline knows that nothing has failed
        raise NotSure(str(error), probability=error.probability) from error
    except Misuse as error:  # of whoever made the model: its rung has failed, and the run goes on below
        raise OperationFailed(f"{type(error).__name__}: {error}") from error
    problem = _problem(reply, {tool["function"]["name"] for tool in tools})
    if problem:
        raise OutputRejected(rung, fault=Fault.MALFORMED, detail=problem)
    return reply


def function_tool(name: str, description: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as a model is told of it."""
    return {
        "type": "function",
        "function": {"name": name, "description": description or "", "parameters": dict(parameters)},
    }


def marked(model: LocalModel, rung: str) -> str:
    """What the journal calls the model that answered: the rung, and which weights."""
    return f"{rung}@{model.digest[:12]}"


def texts_alone(what: str) -> NotSure:
    """What a model of one's own says to anything that is no text."""
    return NotSure(f"it reads texts alone, and this is a {what}")


def _text_of(message: Mapping[str, Any]) -> str:
    """What a message says, whose content may come in blocks. Raises `NotSure` for what is no text, but for what another
    model said beside it: its thoughts are its own."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for block in content:
        if isinstance(block, str) or block.get("type") == "text":
            texts.append(block if isinstance(block, str) else block["text"])
        elif message.get("role") != "assistant":
            raise texts_alone(f"block of type {block.get('type')!r}")
    return "\n".join(texts)


def _problem(reply: object, tools: set[str]) -> str:
    """What is wrong with a reply, whoever made the model; empty where nothing is."""
    if not isinstance(reply, LocalReply):
        return f"it replied with a {type(reply).__name__}, which is no LocalReply"
    try:
        msgspec.convert(msgspec.to_builtins(reply, builtin_types=(bytes,)), LocalReply)
        canonical_json([call.arguments for call in reply.calls])
    except (msgspec.ValidationError, TypeError, Misuse) as error:
        return f"its reply has no JSON form: {error}"
    unknown = next((call.tool for call in reply.calls if call.tool not in tools), None)
    if unknown is None:
        return ""
    return f"it calls {unknown!r}, which is no tool here; there are: {', '.join(sorted(tools)) or 'none'}"
