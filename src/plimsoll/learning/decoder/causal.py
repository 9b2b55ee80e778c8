"""The decoder: a causal language model from a directory, in this process, as a `LocalModel`.

The directory is as `transformers` writes it: `config.json`, weights as safetensors, a tokenizer of the library
`tokenizers`, and, where there is one, its chat template. Nothing is downloaded, and no code in the directory is run.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore, Event
from typing import Any

from plimsoll.core.calls import Fault
from plimsoll.core.errors import MissingExtra, Misuse, OutputRejected, Shed
from plimsoll.learning.decoder.conversation import read_messages
from plimsoll.learning.decoder.grammar import Constraint, GivenUp, Grammar
from plimsoll.learning.decoder.prompt import Prompter
from plimsoll.learning.decoder.tools import Tool, read_call, read_tools
from plimsoll.learning.errors import NotSure, WeightsError
from plimsoll.learning.local import LocalReply
from plimsoll.learning.weights import ENCODERS, read_config, read_model, read_tokenizer

try:
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, GenerationConfig
except ImportError as error:
    raise MissingExtra(error.name or "torch", extra="learning") from error

__all__ = ["Decoder"]

_DIGESTED = frozenset({".jinja", ".json", ".model", ".safetensors", ".txt"})
_LONGEST_TOKEN = 32
"""Characters. A conversation of more than so many for each token of the context is refused unread."""


class Decoder:
    """A causal language model in memory, on a GPU where there is one. Make it by `load`.

    It answers greedily, so that the same conversation has the same answer on the same machine, with a text or with one
    call; the call's arguments are what the tool's JSON Schema allows. It answers one conversation after the other, in
    a thread of its own; an answer that nobody waits for any more ends before its next token.
    """

    def __init__(
        self, directory: Path, *, model: Any, tokenizer: Any, ends: list[int], max_new_tokens: int, max_context: int,
        max_waiting: int,
    ) -> None:  # fmt: skip
        self._name = directory.name
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._prompter = Prompter(tokenizer)
        self._grammar = Grammar(
            str(directory),
            tokenizer,
            rows=model.config.get_text_config().vocab_size,
            ends=ends,
            form=self._prompter.form,
            one_line=self._prompter.one_line,
        )
        self._max_context = max_context
        # Nothing else that the directory's own generation_config.json says: it may sample, or punish repetition.
        self._model.generation_config = GenerationConfig(
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=ends[0]
        )
        self._digest = _digest(directory)
        self._places = BoundedSemaphore(1 + max_waiting)
        self._process, self._thread = os.getpid(), ThreadPoolExecutor(1, "plimsoll-decoder")

    @classmethod
    def load(
        cls, directory: Path, *, max_new_tokens: int = 512, max_context: int = 8192, max_waiting: int = 8
    ) -> "Decoder":
        """Loads the model in `directory`. Raises `WeightsError`, which says what is wrong with it.

        max_new_tokens: the longest answer; one that is longer is none. max_context: the most tokens of a conversation
        and its answer, if the model itself takes as many. max_waiting: how many conversations wait behind the one that
        is answered; one more is `Shed`.
        """
        directory = Path(directory)
        if min(max_new_tokens, max_context) < 1 or max_waiting < 0:
            raise Misuse("max_new_tokens and max_context must be at least 1, and max_waiting at least 0")
        config = _config(directory)
        most = getattr(config.get_text_config(), "max_position_embeddings", None) or max_context
        if max_new_tokens >= min(most, max_context):
            raise Misuse(
                f"max_new_tokens is {max_new_tokens}, and this model's context {min(most, max_context)}: "
                "there is no room for a conversation"
            )
        tokenizer = read_tokenizer(directory, config)
        # On a processor, in full: few of them multiply in 16 bits.
        dtype = None if torch.cuda.is_available() else torch.float32
        model = read_model(directory, config, kind=AutoModelForCausalLM, dtype=dtype)
        return cls(
            directory,
            model=model,
            tokenizer=tokenizer,
            ends=_ends(directory, model, tokenizer),
            max_new_tokens=max_new_tokens,
            max_context=min(most, max_context),
            max_waiting=max_waiting,
        )

    @property
    def digest(self) -> str:
        """SHA-256 over configuration, weights, tokenizer and template, as they stood when they were loaded."""
        return self._digest

    def check(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Whether calls of these tools can be held to their schemas: what `reply` would raise, before it is asked.

        Raises `ToolSchemaError`, which names the tool and the keyword.
        """
        self._grammar.matcher(read_tools(tools))

    async def reply(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> LocalReply:
        """A text, or one call.

        Raises `NotSure` for a conversation that is too long or not of texts, `OutputRejected` for an answer that has
        no end, `ToolSchemaError` and `Misuse` for tools and messages that are none, and `Shed` where too many wait.
        """
        if not self._places.acquire(blocking=False):
            raise Shed(self._name, why="it answers one conversation after the other, and too many wait")
        given_up = Event()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._own_thread(), self._answer, messages, tools, given_up)
        finally:
            given_up.set()
            self._places.release()

    def close(self) -> None:
        """Ends its thread, after the answer that is under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _own_thread(self) -> ThreadPoolExecutor:
        """The thread that answers. A forked process, as the gate's workers are, has its parent's no more."""
        if self._process != os.getpid():
            self._process, self._thread = os.getpid(), ThreadPoolExecutor(1, "plimsoll-decoder")
            torch.set_num_threads(1)  # nor has it those that shared the parent's work, which PyTorch would wait for
        return self._thread

    def _answer(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], given_up: Event
    ) -> LocalReply:
        turns, known = read_messages(messages), read_tools(tools)
        if sum(len(turn.text) for turn in turns) > _LONGEST_TOKEN * self._max_context:
            raise NotSure(f"the conversation is longer than this model's context of {self._max_context:,} tokens")
        matcher = self._grammar.matcher(known)
        prompt = self._prompter.ids(turns, known)
        longest = self._model.generation_config.max_new_tokens
        if len(prompt) + longest > self._max_context:
            raise NotSure(
                f"the conversation has {len(prompt):,} tokens, and with {longest:,} for an answer that is more than "
                f"this model's context of {self._max_context:,}"
            )
        last = self._generate(prompt, matcher, given_up)
        if given_up.is_set():
            raise NotSure("nobody waits for this answer any more")
        matcher.consume_token(last)
        return self._reply(matcher, known)

    def _generate(self, prompt: list[int], matcher: Any, given_up: Event) -> int:
        """Writes an answer, token by token, into `matcher`: all but its last token, which is returned."""
        ids = torch.tensor([prompt], device=self._model.device)
        written = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            logits_processor=[Constraint(matcher)],
            stopping_criteria=[GivenUp(given_up)],
        )
        return int(written[0, -1])

    def _reply(self, matcher: Any, tools: Mapping[str, Tool]) -> LocalReply:
        if not matcher.is_stopped():
            longest = self._model.generation_config.max_new_tokens
            raise OutputRejected(self._name, fault=Fault.TRUNCATED, detail=f"it has no end after {longest:,} tokens")
        ((rule, written),) = matcher.get_captures()
        if rule == "text":
            return LocalReply(text=written.decode().strip())
        tool = list(tools)[int(rule.removeprefix("arguments_"))]
        return LocalReply(calls=(read_call(self._name, tools, tool=tool, arguments=written),))


def _config(directory: Path) -> Any:
    config = read_config(directory, kind="a decoder")
    encodes = config.model_type in ENCODERS and not getattr(config, "is_decoder", False)
    if encodes or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise WeightsError(
            str(directory),
            f"its model_type is {config.model_type!r}, which {'reads' if encodes else 'does not write'} texts; "
            "a decoder is a causal language model, such as gpt2, llama or qwen2",
        )
    return config


def _ends(directory: Path, model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: those of the weights, and that of the tokenizer."""
    theirs = getattr(model.generation_config, "eos_token_id", None)
    ends = theirs if isinstance(theirs, list) else [theirs]
    found = [id for id in dict.fromkeys([*ends, tokenizer.eos_token_id]) if id is not None]
    if not found:
        raise WeightsError(str(directory), "neither weights nor tokenizer say which token ends a text (eos_token)")
    return found


def _digest(directory: Path) -> str:
    """SHA-256 over names and contents of the files that answers depend on; templates may stand in a folder."""
    whole = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.suffix in _DIGESTED and path.is_file():
            name = path.relative_to(directory).as_posix()
            with path.open("rb") as file:
                whole.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
