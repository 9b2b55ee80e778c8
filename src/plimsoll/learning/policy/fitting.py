"""`fit_policy`: conversations and a pre-trained encoder become a policy, in a directory that answers without PyTorch.

The encoder is exported as it is, in int8, and everything is fitted on what that gives: a head that chooses the tool,
and a pointer for each argument. To use an encoder of one's own, fit it first (`plimsoll learn fit --method full`) and
name its directory. Minutes at most, so that nothing is kept of a fit that was killed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.clock import Clock
from plimsoll.core.errors import MissingExtra
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.calibration import calibration_error
from plimsoll.learning.conversations import Conversation, Decision, digest_of
from plimsoll.learning.encoder import Encoder
from plimsoll.learning.errors import DataError
from plimsoll.learning.export import write_onnx
from plimsoll.learning.head import fitted_head
from plimsoll.learning.journals import ANSWER
from plimsoll.learning.judging import calibrated
from plimsoll.learning.lineage import Source, write_sources
from plimsoll.learning.linear import Head, energy, probabilities, save_head
from plimsoll.learning.manifest import Manifest, Scores, digests, write_manifest
from plimsoll.learning.options import Progress
from plimsoll.learning.policy.answers import check_templates, look_of
from plimsoll.learning.policy.candidates import key_of
from plimsoll.learning.policy.card import write_card
from plimsoll.learning.policy.course import course
from plimsoll.learning.policy.fitting_pointers import Example, fitted_pointers
from plimsoll.learning.policy.model import Choice, Mind, Policy
from plimsoll.learning.policy.options import PolicyOptions
from plimsoll.learning.policy.pointing import Parameter, Pointer
from plimsoll.learning.policy.reading import Reader
from plimsoll.learning.policy.store import Judged, Spec, ToolSpec, save_pointers, save_spec
from plimsoll.learning.training import Listener
from plimsoll.learning.work import check_new, emptied

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="learning") from error

__all__ = ["LEAST_CONVERSATIONS", "bound_for", "fit_policy", "is_right", "judged", "parted"]

LEAST_CONVERSATIONS = 10
Pointers = dict[str, tuple[tuple[Parameter, Pointer], ...]]


def fit_policy(
    conversations: Sequence[Conversation],
    *,
    encoder: Path,
    out: Path,
    options: PolicyOptions,
    clock: Clock,
    listener: Listener = lambda told: None,
    sources: Sequence[Source] = (),
) -> Policy:
    """Fits a policy and writes it to `out`, which must not be there yet. `sources` are the files that the
    conversations were read from.

    Raises `Misuse`, `DataError` for too few conversations, `WeightsError` for the encoder, and `OperationFailed` where
    `out` cannot be written.
    """
    check_new(out)
    check_templates(options.templates)
    train, validation = parted(conversations, share=options.share, seed=options.seed)
    with emptied(out) as scratch:
        began = clock.monotonic()
        loaded = Encoder.load(encoder, max_tokens=options.max_tokens)
        write_onnx(loaded, _texts(train), scratch, tokens=True)
        data = digest_of(conversations)
        write_sources(scratch, data, sources)
        fitting = _Fitting(scratch, train, validation, options, listener)
        manifest, spec = fitting.made(base=loaded.digest(), data=data)
        manifest = fitting.written(manifest, spec, train_s=clock.monotonic() - began)
        write_card(scratch, manifest, spec)
        scratch.replace(out)
    return Policy.load(out)


def _texts(conversations: Sequence[Conversation]) -> list[str]:
    """What is read of these conversations: each request, and each course."""
    decisions = [decision for each in conversations for decision in each.decisions]
    courses = dict.fromkeys(course(decision.before) for decision in decisions)
    return [*dict.fromkeys(each.request for each in conversations), *courses]


def parted(
    conversations: Sequence[Conversation], *, share: float, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Conversations to learn from and to validate by. Those of a group, and equal requests, stand on one side.

    Raises `DataError`.
    """
    if len(conversations) < LEAST_CONVERSATIONS:
        raise DataError("the rows", 0, f"{len(conversations)} conversations; {LEAST_CONVERSATIONS} at least are needed")
    rng = seeded_rng(f"policy {seed}")
    drawn = {group: rng.random() for group in dict.fromkeys(map(_group, conversations))}
    taken = set(sorted(drawn, key=drawn.__getitem__)[: max(1, round(share * len(drawn)))])
    train = [each for each in conversations if _group(each) not in taken]
    if len({_next_tool(decision) for each in train for decision in each.decisions}) < 2:
        raise DataError("the rows", 0, "no tool is called in them: there is nothing to choose from")
    return train, [each for each in conversations if _group(each) in taken]


def _group(conversation: Conversation) -> str:
    return conversation.group or conversation.request


def _next_tool(decision: Decision) -> str:
    return ANSWER if decision.next is None else decision.next.tool


def is_right(choice: Choice, decision: Decision) -> tuple[bool, bool]:
    """Whether the tool is right, and whether its arguments are, too, exactly."""
    tool = choice.tool == _next_tool(decision)
    wanted: dict[str, Any] = decision.next.arguments if decision.next is not None else {}
    same = choice.arguments.keys() == wanted.keys() and all(
        key_of(value) == key_of(wanted[name]) for name, value in choice.arguments.items()
    )
    return tool, tool and same


def judged(choices: Sequence[Choice], decisions: Sequence[Decision], bounds: Mapping[str, float | None]) -> Judged:
    """How good these choices are, and those of them that are sure enough: as probable as their tool's bound."""
    rights = [is_right(choice, decision) for choice, decision in zip(choices, decisions, strict=True)]
    sure = [_is_sure(choice, bounds.get(choice.tool)) for choice in choices]
    return Judged(
        decisions=len(choices),
        tool=sum(tool for tool, _ in rights),
        whole=sum(whole for _, whole in rights),
        answered=sum(sure),
        right=sum(whole for (_, whole), is_sure in zip(rights, sure, strict=True) if is_sure),
    )


def _is_sure(choice: Choice, bound: float | None) -> bool:
    return bound is not None and not choice.doubt and choice.probability >= bound


def bound_for(choices: Sequence[Choice], decisions: Sequence[Decision], precision: float) -> float | None:
    """The lowest probability from which on this share of the decisions is right, as far as so few can tell.

    Of n decisions of which r are right, (r + 1) / (n + 2) is taken for the share (Laplace's rule of succession): 8
    right ones make 90 %, and 18 make 95 %. The bound lies halfway to the next decision below, or to one half where
    there is none. None where there is no such probability.
    """
    rated = sorted(
        (
            (choice.probability, is_right(choice, decision)[1])
            for choice, decision in zip(choices, decisions, strict=True)
            if not choice.doubt
        ),
        reverse=True,
    )
    bound, right = None, 0
    for taken, (probability, is_whole) in enumerate(rated, 1):
        right += is_whole
        following = rated[taken][0] if taken < len(rated) else min(probability, 0.5)
        apart = following < probability or taken == len(rated)
        if apart and right + 1 >= precision * (taken + 2):
            bound = (probability + following) / 2
    return bound


class _Fitting:
    """One fit over an exported encoder."""

    def __init__(
        self,
        directory: Path,
        train: Sequence[Conversation],
        validation: Sequence[Conversation],
        options: PolicyOptions,
        listener: Listener,
    ) -> None:
        self.directory = directory
        self.options = options
        self.listener = listener
        self.reader = Reader(directory, max_tokens=options.max_tokens, batches=True)
        self.train = [decision for each in train for decision in each.decisions]
        self.validation = [decision for each in validation for decision in each.decisions]
        self.conversations = len(train)

    def made(self, *, base: str, data: str) -> tuple[Manifest, Spec]:
        labels = tuple(sorted({_next_tool(decision) for decision in self.train}))
        draft = self._draft(labels, base=base, data=data)
        reading = Mind(self.reader, _no_head(self.reader, labels), draft, {})
        head, manifest = self._head(reading, draft)
        pointers = self._pointers(reading)
        save_head(self.directory, head)
        save_pointers(self.directory, pointers)
        mind = Mind(self.reader, head, manifest, pointers)
        choices = [mind.choice(decision.request, decision.before) for decision in self.validation]
        return manifest, self._spec(labels, pointers, choices)

    def written(self, manifest: Manifest, spec: Spec, *, train_s: float) -> Manifest:
        save_spec(self.directory, spec)
        made = msgspec.structs.replace(manifest, files=digests(self.directory), train_s=train_s)
        write_manifest(self.directory, made)
        return made

    def _situations(self, mind: Mind, decisions: Sequence[Decision], done: int, total: int) -> Any:
        rows = []
        for number, decision in enumerate(decisions, 1):
            rows.append(mind.situation(decision.request, decision.before))
            self.listener(Progress(what="embed", done=done + number, total=total))
        return np.stack(rows)

    def _head(self, mind: Mind, draft: Manifest) -> tuple[Head, Manifest]:
        """The head that chooses the tool, with its temperature and threshold."""
        number = {label: at for at, label in enumerate(draft.labels)}
        total = len(self.train) + len(self.validation)
        vectors = self._situations(mind, self.train, 0, total)
        numbers = np.array([number[_next_tool(decision)] for decision in self.train])
        head = fitted_head(vectors, numbers, balanced=False, seed=self.options.seed)
        known = [decision for decision in self.validation if _next_tool(decision) in number]
        if not known:
            raise DataError("the rows", 0, "no validation row has a tool that is learned: give it more conversations")
        inside = self._situations(mind, known, len(self.train), total)
        right = np.array([number[_next_tool(decision)] for decision in known])
        found = calibrated(head, inside, right, rejected=self.options.rejected)
        logits = head.logits(inside)
        validation = Scores(
            rows=len(known),
            accuracy=float((logits.argmax(1) == right).mean()),
            calibration_error=calibration_error(probabilities(logits, found.temperature), right),
            rejected=float((energy(logits) < found.threshold).mean()),
        )
        return head, msgspec.structs.replace(
            draft,
            temperature=found.temperature,
            threshold=found.threshold,
            validation=validation,
            trained_parameters=head.weight.size + head.bias.size,
        )

    def _pointers(self, mind: Mind) -> Pointers:
        examples: defaultdict[str, list[Example]] = defaultdict(list)
        for decision in self.train:
            if decision.next is not None:
                moment = mind.moment(decision.request, decision.before)
                examples[decision.next.tool].append(Example(moment, decision.next.arguments))
        found: Pointers = {}
        for done, (tool, each) in enumerate(sorted(examples.items()), 1):
            learned = fitted_pointers(tool, each)
            if learned is not None:
                found[tool] = tuple(learned)
            self.listener(Progress(what="point", done=done, total=len(examples)))
        return found

    def _spec(self, labels: Sequence[str], pointers: Pointers, choices: Sequence[Choice]) -> Spec:
        bounds = {tool: self._bound(tool, choices) for tool in labels}
        return Spec(
            precision=self.options.precision,
            tools={tool: self._tool(tool, pointers, choices, bounds) for tool in labels},
            templates=dict(self.options.templates),
            conversations=self.conversations,
            validation=judged(choices, self.validation, bounds),
        )

    def _bound(self, tool: str, choices: Sequence[Choice]) -> float | None:
        pairs = [pair for pair in zip(choices, self.validation, strict=True) if pair[0].tool == tool]
        return bound_for([choice for choice, _ in pairs], [decision for _, decision in pairs], self.options.precision)

    def _tool(
        self, tool: str, pointers: Pointers, choices: Sequence[Choice], bounds: Mapping[str, float | None]
    ) -> ToolSpec:
        made = [decision.next for decision in self.train if _next_tool(decision) == tool]
        pairs = [pair for pair in zip(choices, self.validation, strict=True) if _next_tool(pair[1]) == tool]
        well = [call.result for call in made if call is not None and call.ok]
        return ToolSpec(
            rows=len(made),
            bound=bounds[tool],
            look=look_of(well) if well else None,
            reads=bool(made) and all(call is not None and call.reads for call in made),
            parameters=tuple(parameter for parameter, _ in pointers[tool]) if tool in pointers else None,
            judged=judged([choice for choice, _ in pairs], [decision for _, decision in pairs], bounds),
        )

    def _draft(self, labels: tuple[str, ...], *, base: str, data: str) -> Manifest:
        return Manifest(
            kind="policy",
            labels=labels,
            temperature=1.0,
            threshold=float("-inf"),
            rejected=self.options.rejected,
            max_tokens=self.options.max_tokens,
            method="policy",
            seed=self.options.seed,
            epochs=0,
            balanced=False,
            trained_parameters=0,
            train_s=0.0,
            data_digest=data,
            base_digest=base,
            files={},
            validation=Scores(rows=0, accuracy=0.0, calibration_error=0.0, rejected=0.0),
        )


def _no_head(reader: Reader, labels: Sequence[str]) -> Head:
    """Stands where a head will be, while there are only vectors to be had."""
    dimensions = 2 * reader.embed(["."]).shape[1]
    return Head(np.zeros((len(labels), dimensions), np.float32), np.zeros(len(labels), np.float32))
