"""Text that nobody here wrote, made harmless for whoever reads it: in a report, on a page, in a file."""

import unicodedata

__all__ = ["printable"]

_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, what turns or hides text, what UTF-8 cannot hold, odd line ends
_NOT_XML = "\ufffe\uffff"
_KEPT = "\t\n\u200c\u200d"  # joiners shape letters of some scripts, and emoji


def printable(text: str) -> str:
    """`text` with line ends as newlines, and with characters that could act on a reader or a parser written out."""
    return text if text.isprintable() else "".join(map(_shown, text.replace("\r\n", "\n")))


def _shown(char: str) -> str:
    if char in _KEPT or (unicodedata.category(char) not in _HARMFUL and char not in _NOT_XML):
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
