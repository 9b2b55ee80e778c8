"""An explanation as it is read: the text in pieces, words with how strongly they speak, and what was not read."""

from dataclasses import dataclass

from plimsoll.learning.leave_one_out import Explanation, Word

__all__ = ["Piece", "Read", "read", "strength"]

_SHADES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text: a word with what it does for the label, or (None) what stands between words."""

    text: str
    word: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A text and its explanation. `pieces` are all that was read of it, in order, and `unread` the rest."""

    explanation: Explanation
    pieces: tuple[Piece, ...]
    unread: str

    @property
    def strongest(self) -> float:
        """The attribution farthest from 0, whatever its sign; 0 where no word does anything."""
        return max((abs(word.attribution) for word in self.explanation.words), default=0.0)

    @property
    def ranked(self) -> tuple[Word, ...]:
        """The words, the strongest first."""
        return tuple(sorted(self.explanation.words, key=lambda word: -abs(word.attribution)))


def read(text: str, explanation: Explanation) -> Read:
    """The text beside its explanation."""
    pieces, at = [], 0
    for word in explanation.words:
        if word.start > at:
            pieces.append(Piece(text[at : word.start]))
        pieces.append(Piece(text[word.start : word.end], word))
        at = word.end
    rest = text[at:]
    if not explanation.cut:
        pieces += [Piece(rest)] if rest else []
        rest = ""
    return Read(explanation=explanation, pieces=tuple(pieces), unread=rest.strip())


def strength(word: Word, strongest: float) -> int:
    """How strongly a word speaks beside the strongest of its text: −4 to 4; 0 is next to nothing."""
    return round(_SHADES * word.attribution / strongest) if strongest else 0
