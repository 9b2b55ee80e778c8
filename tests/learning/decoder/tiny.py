"""A causal language model that is made in a second, with weights at random: what it writes means nothing."""

from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    'where is my order? {"name": "track_order", "arguments": {"order_id": "W1"}}',
    "it is on its way. refund, please",
]

TRACK = {
    "type": "object",
    "properties": {"order_id": {"type": "string", "pattern": "^W[0-9]{3}$"}},
    "required": ["order_id"],
}

CHATML = (
    "{%- if tools %}<|im_start|>system\nTools: {{ tools | tojson }}\nA call is <tool_call>\n"
    '{"name": <name>, "arguments": <arguments>}\n</tool_call><|im_end|>\n{% endif %}'
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
"""A chat template after Qwen's."""


def write_decoder(
    directory: Path,
    *,
    template: str | None = CHATML,
    likes: Literal["calls", "ends", "lines", "words"] = "ends",
    seed: int = 0,
    context: int = 4096,
) -> Path:
    """Two layers of 32 dimensions with random weights, and a tokenizer of byte pairs.

    `likes` is what it writes wherever it may: `ends` what ends an answer, so that its answers are short, `calls` what
    begins a call before that, `lines` what ends a line, and `words` anything but an end.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=340, special_tokens=SPECIAL, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in ("<tool_call>", "</tool_call>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", chat_template=template)
    fast.save_pretrained(directory)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast) + 9,  # padded, as weights are
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.5,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 40  # the same in every state, so that it weighs tokens by themselves
        model.lm_head.weight[:, 0] = 0
        model.lm_head.weight[fast.eos_token_id, 0] = -40 if likes == "words" else 40
        if likes == "lines":
            model.lm_head.weight[fast.convert_tokens_to_ids("Ċ"), 0] = 80
        for token, number in fast.get_vocab().items():
            if likes == "calls" and token.startswith(("<tool_call>", "{")):
                model.lm_head.weight[number, 0] = 80
    model.save_pretrained(directory)
    return directory


def tool(name: str = "track_order", parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """A tool, as chat completions have it."""
    return {
        "type": "function",
        "function": {"name": name, "description": "Does it.", "parameters": parameters or TRACK},
    }


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]
