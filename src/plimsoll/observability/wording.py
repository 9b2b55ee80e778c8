"""Whether a text states a phrase, or only asks for it, denies it, promises it, or makes it conditional.

A reading of English by rules, made to be right where it speaks: it says "stated" only of what stands there as a fact.
"""

import re
from bisect import bisect_left, bisect_right

__all__ = ["Wording"]

_APOSTROPHES = str.maketrans({"’": "'", "\u2018": "'", "\u02bc": "'", "*": None, "`": None, "~": None, "\u00a0": " "})
_CONTRACTIONS = (
    (re.compile(r"\bcan't\b|\bcannot\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwon't\b", re.IGNORECASE), "will not"),
    (re.compile(r"n't\b", re.IGNORECASE), " not"),
    (re.compile(r"'ve\b", re.IGNORECASE), " have"),
    (re.compile(r"'ll\b", re.IGNORECASE), " will"),
    (re.compile(r"'d\b", re.IGNORECASE), " would"),
)
_ADVERBS = "now|just|also|successfully|already|fully|today|since|indeed|finally"

_WRAPPED = re.compile(r"(?<=[\w,;])[ \t]*\n[ \t]*(?=[a-z])")
"""A line that goes on in the next."""
_SENTENCE_END = re.compile(r"(?<=[.!?])['\")\]]*\s+|\n+")
# Asides that would otherwise cut a denial off from what it denies, and denials that deny nothing.
_ASIDE = re.compile(
    r",\s*(?:unfortunately|regrettably|sadly|however|therefore|so far|yet|at this (?:time|point)|as of now|sorry)\s*,",
    re.IGNORECASE,
)
_IDIOM = re.compile(
    r"\b(?:no (?:problem|worries|doubt|trouble)|not (?:only|just|to worry)|do not worry|nothing to worry about"
    r"|without (?:delay|further ado|any (?:delay|problem|issue)s?)|(?:per|following|upon|on|at|by) (?:your|the) request"
    r"|as (?:you )?requested)\b",
    re.IGNORECASE,
)
# What somebody else says is not stated: as a quotation, and as reported speech just before the phrase.
_OTHERS = (
    r"\b(?:you|he|she|they|customer|colleague|agent|seller|someone|somebody)\s+(?:\w+\s+)?"
    r"(?:said|says?|wrote|writes?|mentioned|told|claim(?:ed|s)?|thought|believed?|heard)\b"
)
_QUOTED = re.compile(
    rf'{_OTHERS}[^"“”\n]{{0,40}}["“][^"“”]{{0,500}}["”]|\baccording to (?:you|him|her|them)\b[^.!?\n]{{0,300}}',
    re.IGNORECASE,
)
_REPORTED = re.compile(rf"{_OTHERS}(?:\s+(?:me|us|you|him|her|them))?(?:\s+that)?(?:\s+\w+){{0,3}}\W*\Z", re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"[,;:—–()]|\s-\s|\b(?:but|however|although|though|whereas|while)\b"
    r"|\b(?:and|so|then)\s+(?=(?:i|we|you|he|she|it|they|the|your|my|our|this|that|there|a|an|have|has|had|was|were|is"
    r"|are|will|can|would|could|did|do|does|please|let)\b)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|never|no|none|nothing|nobody|neither|nor|unable|fail(?:ed|s|ing)? to|unsuccessful(?:ly)?|without|hardly"
    r"|impossible|refused|declined|rejected|instead of|rather than|yet to|no longer|prevented|denied"
    r"|(?:wrong|false|untrue|incorrect|dishonest|a lie) to)\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:can|could|will|would|may|might|shall|should|must|if|once|when|whenever|unless|until|before|after|whether"
    r"|as soon as|in case|provided|to|request(?:s|ed|ing)?|ask(?:s|ed|ing)?|want(?:s|ed)?|like|need(?:s|ed)?|wish|hope"
    r"|please|let me|let us|eligible|pending|working on|in the process of)\b",
    re.IGNORECASE,
)
# These hold for whatever is told after them as well: "once I can confirm that".
_NOT_YET = re.compile(
    r"\b(?:once|unless|until|before|whether|as soon as|in case|can only|(?:about|going) to)\b", re.IGNORECASE
)
# After these a statement begins: what is modal before them is about the telling, not about what is told.
_TELLING = re.compile(
    r"\b(?:confirm|inform|let you know|tell|report|assure|see|hear|note|know|say|announce|advise|notify|mention|share"
    r"|pleased|glad)(?:s|ing|ed)?\b(?:\s+(?:you|to|that|hear|report|say|confirm))*",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"\s+(?:nothing|none|neither)\b|\s+(?:(?!because|as|since|that|which|who|it|and|so)\w+\s+)?"
    r"(?:was|were|is|are|has|have|had|did|does|do|could|can|will|would|should)(?:\s+(?:still|yet))?\s+not\b",
    re.IGNORECASE,
)
_BECAUSE = re.compile(r"\b(?:because|since|given that)\b.*\b(?=(?:i|we)\b)", re.IGNORECASE)
_BECAUSE_BEFORE = re.compile(r"\b(?:because|since|given that)\b.*\Z", re.IGNORECASE)
_ASKING = re.compile(
    r"\W*(?:and |or |so |but )?(?:would|do|did|does|has|have|had|is|are|was|were|can|could|should|shall|will|may"
    r"|might|what|when|why|how|where|which|who|whose|any)\b",
    re.IGNORECASE,
)
_CARRIES_ON = re.compile(r"\s*(?:(?:\w+\s+)?(?:or|nor|and))?\s*\Z", re.IGNORECASE)
_OURSELVES = re.compile(r"\b(?:i|we)\b", re.IGNORECASE)
_SUBJECT = re.compile(r"(?:i|we|you|he|she|it|they|the|your|my|our|this|that|a|an)\b", re.IGNORECASE)
_VERB = re.compile(r"\b(?:have|has|had|was|were|is|are|am)\b", re.IGNORECASE)
_WORD = re.compile(r"\w")
_REACH = 300
_ALREADY = re.compile(r"\balready\b", re.IGNORECASE)


def _normal(text: str) -> str:
    text = text.translate(_APOSTROPHES)
    for pattern, expanded in _CONTRACTIONS:
        text = pattern.sub(expanded, text)
    return text


class Wording:
    """One phrase, matched whole, whatever its case, spacing and apostrophes, and with an adverb or two in between."""

    def __init__(self, phrase: str) -> None:
        self.phrase = phrase
        normal = _normal(phrase).strip()
        self._has_subject = _SUBJECT.match(normal) is not None
        self._depends = not self._has_subject and _VERB.search(normal) is None
        words = [re.escape(word) for word in normal.split()]
        between = rf"\s+(?:(?:{_ADVERBS})\s+){{0,2}}"
        self._pattern = re.compile(rf"(?<!\w){between.join(words)}(?!\w)", re.IGNORECASE) if words else None

    def is_stated_in(self, text: str) -> bool:
        """Whether `text` says the phrase as a fact at least once."""
        if self._pattern is None:
            return False
        text = _normal(text)
        if self._pattern.search(text) is None:
            return False
        text = _QUOTED.sub(" ", text)
        readings = dict.fromkeys((text, _WRAPPED.sub(" ", text)))  # as lines of their own, and as wrapped ones
        sentences = dict.fromkeys(sentence for reading in readings for sentence in _SENTENCE_END.split(reading))
        return any(self._is_stated(sentence) for sentence in sentences if sentence)

    def _is_stated(self, sentence: str) -> bool:
        assert self._pattern is not None
        sentence = _IDIOM.sub(" ", _ASIDE.sub(" ", sentence))
        matches = list(self._pattern.finditer(sentence))
        if not matches:
            return False
        clauses = _clauses(sentence)
        asks = sentence.rstrip("'\") ").endswith("?")
        asked_from = 0 if asks and _ASKING.match(sentence) else clauses[-1][0] if asks else len(sentence)
        return any(
            self._states(*self._around(sentence, match, clauses), match.group())
            for match in matches
            if match.start() < asked_from
        )

    def _around(self, sentence: str, match: re.Match[str], clauses: list[tuple[int, int]]) -> tuple[str, str]:
        """What stands before and after the match in its clause.

        A clause that begins with a phrase of no subject and no verb of its own goes on with the clause before: "not
        cancelled, returned or refunded".
        """
        first = max(0, bisect_right(clauses, (match.start(), len(sentence))) - 1)
        last = max(first, bisect_left(clauses, (match.end(),)) - 1)
        while first and self._depends and _CARRIES_ON.match(sentence[clauses[first][0] : match.start()]):
            first -= 1
        start, end = max(clauses[first][0], match.start() - _REACH), min(clauses[last][1], match.end() + _REACH)
        return sentence[start : match.start()], sentence[match.end() : end]

    def _states(self, left: str, right: str, said: str) -> bool:
        left = (_BECAUSE_BEFORE if self._has_subject else _BECAUSE).sub(" ", left)
        if _DENIED.search(left) or _DENIED_AFTER.match(right) or _NOT_YET.search(left) or _REPORTED.search(left):
            return False
        told = 0
        for telling in _TELLING.finditer(left):
            told = telling.end()
        if _SUPPOSED.search(left, told):
            return False
        claim = left[told:] + said
        return not _ALREADY.search(claim) or _OURSELVES.search(claim) is not None


def _clauses(sentence: str) -> list[tuple[int, int]]:
    """Where each clause with a word in it begins and ends."""
    clauses = []
    start = 0
    for boundary in _CLAUSE_END.finditer(sentence):
        clauses.append((start, boundary.start()))
        start = boundary.end()
    clauses.append((start, len(sentence)))
    return [clause for clause in clauses if _WORD.search(sentence, *clause)]
