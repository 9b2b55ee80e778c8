"""Integrated gradients: how much each word of a text speaks for a label, along the way from no text to this one.

Of the vectors that words are looked up as, the gradient of the label's log-odds is added up on the straight way from
padding to the text, by Captum. The attributions then sum to the log-odds of the text less those of the padding: by how
much they do not is the error, and is told. Sundararajan et al. 2017 (https://arxiv.org/abs/1703.01365).
"""

from typing import Any

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.classifier import Tokens
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.explaining.fitted import FittedClassifier
from plimsoll.learning.leave_one_out import Explanation, Word
from plimsoll.learning.linear import energy, probabilities

try:
    import numpy as np
    import torch
    from captum.attr import LayerIntegratedGradients
except ImportError as error:
    raise MissingExtra(error.name or "captum", extra="learning") from error

__all__ = ["INTEGRATED_GRADIENTS", "attributions"]

INTEGRATED_GRADIENTS = "integrated-gradients"

_STEPS = 50
_AT_ONCE = 256
"""So many tokens are read at the same time, over all steps: it bounds the memory."""


def attributions(classifier: FittedClassifier, text: str, *, label: str | None = None) -> Explanation:
    """What each word of `text` does for `label` (None: the likeliest). Words are as the model's tokenizer parts them.

    Raises `Misuse` for a label that the model does not know, and for a text that it does not read.
    """
    manifest = classifier.manifest
    if label is not None and label not in manifest.labels:
        raise Misuse(f"the model has no label {label!r}; it has {len(manifest.labels)}, {manifest.labels[0]!r} first")
    tokens = classifier.tokens(text)
    logits = classifier.logits(classifier.embed_ids([tokens.ids]))
    column = int(logits[0].argmax()) if label is None else manifest.labels.index(label)
    by_token, error = _by_token(classifier, tokens, column)
    speaks = float(energy(logits)[0])
    scores = np.zeros(len(tokens.words))
    for word, score in zip(tokens.word_of, by_token, strict=True):
        if word is not None:  # the model's own tokens are the same in the padding: nothing is due to them
            scores[word] += score
    return Explanation(
        label=manifest.labels[column],
        probability=float(probabilities(logits, manifest.temperature)[0, column]),
        out_of_scope=speaks < manifest.threshold,
        energy=speaks,
        words=tuple(
            Word(text=text[start:end], start=start, end=end, attribution=float(score))
            for (start, end), score in zip(tokens.words, scores, strict=True)
        ),
        cut=tokens.cut,
        method=INTEGRATED_GRADIENTS,
        delta=error,
    )


def _by_token(classifier: FittedClassifier, tokens: Tokens, column: int) -> tuple[Any, float]:
    """The attribution of each token, and by how much their sum is wrong."""
    encoder = classifier.encoder
    padding = encoder.tokenizer.pad_token_id
    if padding is None:
        raise WeightsError(str(encoder.directory), "its tokenizer has no padding, which gradients begin from")
    ids = torch.tensor([tokens.ids], device=encoder.device)
    given = torch.tensor([[word is None for word in tokens.word_of]], device=encoder.device)
    weight, bias = (
        torch.from_numpy(each).to(encoder.device) for each in (classifier.head.weight, classifier.head.bias)
    )

    def log_odds(read: Any, mask: Any) -> Any:
        logits = (encoder.embedder(read, mask) @ weight.T + bias) / classifier.manifest.temperature
        others = [other for other in range(logits.shape[1]) if other != column]
        return logits[:, column] - logits[:, others].logsumexp(1)

    encoder.embedder.eval()
    layer, mask = encoder.embedder.model.get_input_embeddings(), torch.ones_like(ids)
    padded = torch.where(given, ids, torch.full_like(ids, padding))
    found = LayerIntegratedGradients(log_odds, layer).attribute(
        ids,
        baselines=padded,
        additional_forward_args=(mask,),
        n_steps=_STEPS,
        internal_batch_size=max(1, _AT_ONCE // ids.shape[1]),
    )
    with torch.inference_mode():
        # The way begins at padding in the places of this text, and some architectures count places by what is no
        # padding: so this text is read, with padding's vectors. Captum's own error would begin elsewhere.
        nothing = layer(padded)
        hook = layer.register_forward_hook(lambda module, read, vectors: nothing)
        try:
            begin = log_odds(ids, mask)
        finally:
            hook.remove()
        error = found.sum() - (log_odds(ids, mask) - begin)[0]
    return found.sum(-1)[0].detach().cpu().numpy(), abs(float(error))
