"""What cannot be is refused when it is said, and not an hour later."""

from typing import Any

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.learning.options import FitOptions, Method


@pytest.mark.parametrize("method", list(Method))
def test_every_method_knows_its_own_epochs_and_rate(method: Method) -> None:
    options = FitOptions(method=method)
    assert (options.most_epochs > 0) is (options.rate > 0) is (method is not Method.HEAD)


def test_what_was_said_goes_before() -> None:
    options = FitOptions(method=Method.FULL, epochs=2, learning_rate=0.5)
    assert (options.most_epochs, options.rate) == (2, 0.5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": Method.FULL, "epochs": 0}, "epochs is 0"),
        ({"epochs": 3}, "no epochs"),
        ({"learning_rate": 0.1}, "no epochs and no learning rate"),
        ({"method": Method.LORA, "learning_rate": 1.0}, "between 0 and 1"),
        ({"batch_size": 1}, "batch_size"),
        ({"method": Method.FEWSHOT, "batch_size": 5}, "even"),
        ({"patience": 0}, "patience"),
        ({"seed": -1}, "seed"),
        ({"rejected": 0.0}, "rejected is 0"),
        ({"rejected": 0.6}, "0.5 at most"),
    ],
)
def test_what_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        FitOptions(**wrong)
