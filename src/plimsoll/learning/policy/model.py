"""The policy: a small encoder that decides an agent's next call, by ONNX Runtime on one thread. No PyTorch, no network.

It reads the last thing that a person wrote, and the calls since. First it chooses the tool, or that an answer is due;
then each argument, out of what is there. It decides only where it is sure enough: the bound of each tool was set so
that, of such decisions on validation rows, the share that was asked for is right.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.canonical import canonical_json, is_json, parse_json
from plimsoll.core.errors import MissingExtra
from plimsoll.learning.conversations import Made, as_result
from plimsoll.learning.errors import NotSure, WeightsError
from plimsoll.learning.journals import ANSWER, asked_text
from plimsoll.learning.linear import Head, energy, load_head, probabilities
from plimsoll.learning.local import LocalCall, LocalReply
from plimsoll.learning.manifest import Manifest, model_digest, read_manifest
from plimsoll.learning.policy.answers import report
from plimsoll.learning.policy.course import course
from plimsoll.learning.policy.pointing import Moment, Parameter, Pointer, pointed, pool
from plimsoll.learning.policy.reading import Reader
from plimsoll.learning.policy.store import Spec, load_pointers, load_spec
from plimsoll.learning.rows import MAX_CHARACTERS

try:
    import numpy as np
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, UnknownType
    from referencing import Registry
    from referencing.exceptions import Unresolvable
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="inference") from error

__all__ = ["Choice", "Mind", "Policy", "conversation_of"]

_REMEMBERED = 16
"""So many requests are kept as they were read: the same one comes again with each call of its run."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What would be done next: `tool` (`answer`: none) and its arguments, however sure that is.

    `doubt` says why it had better not be done, where something speaks against it.
    """

    tool: str
    arguments: dict[str, Any]
    probability: float
    doubt: str = ""


class Mind:
    """What decides, sure or not: the reader, the head that chooses the tool, and a pointer for each argument."""

    def __init__(
        self,
        reader: Reader,
        head: Head,
        manifest: Manifest,
        pointers: Mapping[str, Sequence[tuple[Parameter, Pointer]]],
    ) -> None:
        self.manifest = manifest
        self._head = head
        self._pointers = pointers
        self._read = lru_cache(_REMEMBERED)(reader.read)
        self._embed = lru_cache(_REMEMBERED)(lambda text: reader.embed([text])[0])

    def situation(self, request: str, calls: Sequence[Made]) -> Any:
        """What the tool is chosen by: the vectors of request and course, float32 of shape (2 · dimensions,)."""
        return np.concatenate([self._read(request).vector, self._embed(course(calls))])

    def moment(self, request: str, calls: Sequence[Made]) -> Moment:
        """What arguments are pointed out in."""
        return Moment.of(self._read(request), calls, self.situation(request, calls))

    def choice(self, request: str, calls: Sequence[Made]) -> Choice:
        """The likeliest next call. Raises `Misuse` for a request that is empty, or longer than 20,000 characters."""
        situation = self.situation(request, calls)
        logits = self._head.logits(situation[None])
        chances = probabilities(logits, self.manifest.temperature)[0]
        tool, probability = self.manifest.labels[int(chances.argmax())], float(chances.max())
        if not energy(logits)[0] >= self.manifest.threshold:  # nor where it is no number
            return Choice(tool, {}, probability, "the conversation is like none that was learned from")
        if tool == ANSWER:
            return Choice(tool, {}, probability)
        found = self._arguments(tool, Moment.of(self._read(request), calls, situation), probability)
        if any(found.tool == call.tool and _same(found.arguments, call.arguments) for call in calls):
            return Choice(tool, found.arguments, found.probability, f"{tool} would be called again, with the same")
        return found

    def _arguments(self, tool: str, moment: Moment, probability: float) -> Choice:
        if tool not in self._pointers:
            return Choice(tool, {}, 0.0, f"{tool} has arguments that could not be learned")
        chosen: dict[str, Any] = {}
        for parameter, pointer in self._pointers[tool]:
            found = pointed(pointer, parameter, pool(moment, tool, parameter, chosen))
            probability *= found.probability
            if not found.found:
                return Choice(tool, chosen, probability, f"{tool}: its {parameter.name} is nowhere to be found")
            if found.given:
                chosen[parameter.name] = found.value
        return Choice(tool, chosen, probability)


class Policy:
    """A policy in memory: a `LocalModel`. `spec` says what it is; `mind` decides, sure or not."""

    def __init__(self, mind: Mind, spec: Spec, *, digest: str) -> None:
        self.spec = spec
        self.mind = mind
        self._digest = digest

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> "Policy":
        """The policy that `plimsoll learn policy` wrote to `directory`. Raises `WeightsError`, saying what is wrong."""
        manifest, spec = read_manifest(directory, kind="policy"), load_spec(directory)
        reader = Reader(directory, max_tokens=manifest.max_tokens, batches=True, threads=threads)
        head = load_head(directory, labels=manifest.labels)
        dimensions = head.weight.shape[1] // 2
        if reader.embed(["."]).shape[1] != dimensions:
            raise WeightsError(str(directory), "its head is of another encoder: copy the directory anew")
        mind = Mind(reader, head, manifest, load_pointers(directory, spec, dimensions=dimensions))
        return cls(mind, spec, digest=model_digest(directory))

    @property
    def digest(self) -> str:
        """SHA-256 of the directory's `plimsoll-model.json`, which names the digests of all else."""
        return self._digest

    @property
    def manifest(self) -> Manifest:
        return self.mind.manifest

    async def reply(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> LocalReply:
        """The next call, or the answer. Raises `NotSure`: see `decide`. It computes in a thread."""
        return await asyncio.to_thread(self.decide, messages, tools)

    def decide(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> LocalReply:
        """The same, here and now.

        Raises `NotSure` for a conversation that is like none that was learned from, for a decision less probable than
        its tool's bound, a value that is nowhere to be found, a call that was made already, a tool that is not among
        `tools`, and arguments that its JSON Schema does not take.
        """
        request, calls = conversation_of(messages)
        choice = self.mind.choice(request, calls)
        if choice.doubt:
            raise NotSure(choice.doubt, probability=choice.probability)
        bound = self.spec.tools[choice.tool].bound
        if bound is None or not choice.probability >= bound:
            raise NotSure(f"{choice.tool} is likeliest, and not likely enough", probability=choice.probability)
        if choice.tool == ANSWER:
            looks = {tool: about.look for tool, about in self.spec.tools.items() if about.look is not None}
            reads = [tool for tool, about in self.spec.tools.items() if about.reads]
            others = [call for call in _calls_in(messages, answered=False) if call not in calls]
            text = report(calls, looks=looks, templates=self.spec.templates, reads=reads, others=others)
            return LocalReply(text=text, probability=choice.probability)
        _check(choice, tools)
        return LocalReply(calls=(LocalCall(choice.tool, choice.arguments),), probability=choice.probability)


def conversation_of(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[Made]]:
    """What a person wrote last, and the calls that were made since, of which the results are there.

    Raises `NotSure` where nobody wrote anything.
    """
    last = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    request = asked_text(messages[last]) if last >= 0 else None
    if request is None or not request.strip() or len(request) > MAX_CHARACTERS:
        raise NotSure("there is no request in this conversation that it could read")
    return request, _calls_in(messages[last + 1 :])


def _calls_in(messages: Sequence[Mapping[str, Any]], *, answered: bool = True) -> list[Made]:
    """The calls that were made in these messages. `answered`: those alone of which the results are there."""
    calls: list[Made] = []
    waiting: dict[Any, int] = {}  # by its id, the latest call that was named so: turns may begin to count anew
    came: set[int] = set()
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            arguments = function.get("arguments") or {}
            if isinstance(arguments, str):
                arguments = parse_json(arguments) if is_json(arguments, kind=dict) else {}
            waiting[call.get("id")] = len(calls)
            calls.append(Made(tool=str(function.get("name")), arguments=dict(arguments)))
        if message.get("role") == "tool" and (at := waiting.get(message.get("tool_call_id"))) is not None:
            calls[at] = msgspec.structs.replace(calls[at], result=as_result(_content(message.get("content"))))
            came.add(at)
    return [call for at, call in enumerate(calls) if at in came or not answered]


def _content(content: Any) -> Any:
    """A message's content: a text, or the texts of its parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return canonical_json(one) == canonical_json(other)


def _check(choice: Choice, tools: Sequence[Mapping[str, Any]]) -> None:
    """Raises `NotSure` for a call that the agent could not make."""
    functions = [tool.get("function") or {} for tool in tools]
    schema = next((each.get("parameters") or {} for each in functions if each.get("name") == choice.tool), None)
    if schema is None:
        raise NotSure(f"{choice.tool} is likeliest, and is no tool of this agent", probability=choice.probability)
    try:
        Draft202012Validator.check_schema(schema)
        # Nothing is fetched, whatever a schema refers to.
        wrong = next(Draft202012Validator(schema, registry=Registry()).iter_errors(choice.arguments), None)
    except (SchemaError, UnknownType, Unresolvable) as error:
        raise NotSure(
            f"the schema of {choice.tool} cannot be read: {type(error).__name__}", probability=choice.probability
        ) from error
    if wrong is not None:
        raise NotSure(f"{choice.tool} does not take {wrong.json_path}", probability=choice.probability)
