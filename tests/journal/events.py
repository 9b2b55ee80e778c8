"""Any event at all, for Hypothesis."""

from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from plimsoll.core.events import Event

__all__ = ["EVENTS", "any_event", "json_values"]

EVENTS: dict[str, type[msgspec.Struct]] = {str(kind.__struct_config__.tag): kind for kind in get_args(Event)}
"""Every kind of event, by its name in the journal."""

texts = st.text(st.characters(codec="utf-8"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.floats(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
_SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    Any: json_values,
    str: texts,
    int: st.integers(0, 2**40),
    float: st.floats(0, 2e9),
    bool: st.booleans(),
    type(None): st.none(),
}


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*map(_of, get_args(hint)))
    if get_origin(hint) is tuple:
        return st.lists(_of(get_args(hint)[0]), max_size=2).map(tuple)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return st.builds(hint, **{field.name: _of(field.type) for field in msgspec.structs.fields(hint)})


def any_event() -> st.SearchStrategy[Any]:
    """An event of any kind, with anything in its fields."""
    return st.sampled_from(list(EVENTS.values())).flatmap(_of)
