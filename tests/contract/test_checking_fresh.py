"""What is said of `fresh` in a tool's `output`."""

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.core.errors import ContractError

ON = (
    '"timeout", "connection", "rate_limited", "server_error", "exception", "empty", "malformed", "wrong_shape",'
    ' "error_in_success"'
)
FRESH = 'fresh = { field = "quote.as_of", max_age_s = 60 }'


def told(output: str, *, on: str = ON) -> list[str]:
    text = f'[agent]\nname = "a"\n[tools.quote]\neffect = "read"\noutput = {{ {output} }}\nretry = {{ on = [{on}] }}\n'
    source = Source("p", text)
    problems = check_contract(parse_contract(text, file="p"), source=source)
    return [f"{each.severity}: {each.field}: {each.what}" for each in problems if each.field.startswith("tools")]


def test_a_date_needs_another_try_where_it_is_too_old_and_is_a_key_by_itself() -> None:
    assert told(FRESH, on=f'{ON}, "stale"') == []
    assert told(f'type = "object", {FRESH}', on=f'{ON}, "stale"') == []
    (line,) = told(FRESH)
    assert line.startswith("warning: tools.quote.retry.on: leaves out stale")


@pytest.mark.parametrize("kind", ["string", "array", "number"])
def test_what_is_no_object_has_no_key_with_a_date(kind: str) -> None:
    lines = told(f'type = "{kind}", {FRESH}', on=f'{ON}, "stale"')
    assert any(line.startswith("error: tools.quote.output.fresh: looks for the date in a key") for line in lines)


@pytest.mark.parametrize(
    ("fresh", "says"),
    [
        ('{ field = "a..b", max_age_s = 60 }', "a key of the answer, such as as_of or quote.as_of"),
        ('{ field = "", max_age_s = 60 }', "a key of the answer"),
        ('{ field = "a", max_age_s = 0 }', "a number greater than 0"),
        ('{ field = "a" }', "max_age_s: is missing"),
        ("60", "a table"),
    ],
)
def test_what_is_wrong_is_refused(fresh: str, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        told(f"fresh = {fresh}")
