"""Without its extra, none of these tests is collected: they are all heavy."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from plimsoll.learning.decoder.causal import Decoder

if importlib.util.find_spec("torch") is None:
    collect_ignore = [file.name for file in Path(__file__).parent.glob("test_*.py")]


@pytest.fixture(scope="session")
def decoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder that likes to call. Tests that spoil it make a copy."""
    from tests.learning.decoder.tiny import write_decoder

    return write_decoder(tmp_path_factory.mktemp("decoder"), likes="calls")


@pytest.fixture(scope="session")
def decoder(decoder_dir: Path) -> Iterator["Decoder"]:
    from plimsoll.learning.decoder.causal import Decoder

    decoder = Decoder.load(decoder_dir, max_new_tokens=900)
    yield decoder
    decoder.close()
