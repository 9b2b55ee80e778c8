import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.toml_places import Path, Places

TEXT = '''# a comment with [brackets] and key = "value"
top = 1
[agent] # here
name = """
[not.a.table]
key = 1 \\"""
"""  # after
'single.quoted' = '# no comment'
"escaped\\u0041" = 1
dotted . key = 2
dotted.other = 3

[tools."a.b".retry]
on = [ # first
  "timeout",
  # between
  { inner = 1,  deep.er = [1, 2] },
]
[models]
primary = { timeout_s = 1, retry = { on = ["x"] } }
when = 1979-05-27 07:32:00
raw = \'\'\'
] } = # \'\' \'\'\'

[[rungs]]
name = "one"
[[rungs]]
name = "two"
[rungs.below]
x = 1
[[rungs.deep]]
y = 1
'''


def test_every_key_is_at_its_line() -> None:
    tomllib.loads(TEXT)
    places = Places(TEXT)
    expected: dict[Path, int] = {
        ("top",): 2,
        ("agent",): 3,
        ("agent", "name"): 4,
        ("agent", "single.quoted"): 8,
        ("agent", "escapedA"): 9,
        ("agent", "dotted"): 10,
        ("agent", "dotted", "key"): 10,
        ("agent", "dotted", "other"): 11,
        ("tools",): 13,
        ("tools", "a.b", "retry"): 13,
        ("tools", "a.b", "retry", "on"): 14,
        ("tools", "a.b", "retry", "on", 0): 15,
        ("tools", "a.b", "retry", "on", 1, "inner"): 17,
        ("tools", "a.b", "retry", "on", 1, "deep", "er", 1): 17,
        ("models", "primary", "retry", "on", 0): 20,
        ("models", "when"): 21,
        ("models", "raw"): 22,
        ("rungs",): 25,
        ("rungs", 0, "name"): 26,
        ("rungs", 1): 27,
        ("rungs", 1, "name"): 28,
        ("rungs", 1, "below", "x"): 30,
        ("rungs", 1, "deep", 0, "y"): 32,
    }
    assert {path: places.line(path) for path in expected} == expected


def test_what_is_not_there_is_at_the_nearest_key_around_it() -> None:
    places = Places(TEXT)
    assert places.line(("tools", "a.b", "retry", "base_s")) == 13
    assert places.line(("tools", "a.b", "approval", "when")) == 13
    assert places.line(("nothing",)) == 1
    assert places.line(()) == 1
    assert "not" not in {path[0] for path in places._lines}


def test_text_that_is_not_toml_is_read_as_far_as_it_goes() -> None:
    assert Places("a = 1\nb = \nc = 3").line(("a",)) == 1
    assert Places("a = 1\n[b\nc = 3").line(("b",)) == 2
    assert Places("\n = 1").line(("a",)) == 1
    assert Places("a = " + "[" * 100_000).line(("a",)) == 1
    assert Places("\n[[a]\n").line(("a",)) == 2


KEYS = st.sampled_from(["a", "b-c", "D_1", '"q.x"', "'l\"it'", r'"é\n"', '""'])
VALUES = st.recursive(
    st.sampled_from(["1", "-2.5", "true", '"x # ]"', "'}'", "1979-05-27T07:32:00Z", '"""\nm\n"""', "'''\n,'''", "inf"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n " + ", # c\n".join(items) + " ]")
        | st.lists(st.tuples(KEYS, inner), max_size=2, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=5,
)
LINES = st.one_of(
    st.tuples(st.lists(KEYS, min_size=1, max_size=2).map(" . ".join), VALUES).map(" = ".join),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[{'.'.join(keys)}] # table"),
    st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[[{'.'.join(keys)}]]"),
    st.just(""),
    st.just("# a = [comment"),
)


def paths(value: Any, path: Path = ()) -> list[Path]:
    found: list[Path] = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [inner for key, item in items for inner in paths(item, (*path, key))]


@given(st.lists(LINES, max_size=8))
def test_every_key_that_tomllib_reads_is_found_where_it_starts(lines: list[str]) -> None:
    accepted: list[str] = []
    for line in lines:  # keep those lines that go together
        try:
            tomllib.loads("\n".join([*accepted, line]))
        except tomllib.TOMLDecodeError:
            continue
        accepted.append(line)
    text = "\n".join(accepted)
    places = Places(text)
    found = paths(tomllib.loads(text))
    assert set(found) == set(places._lines)
    for path in found:
        before = "\n".join(text.split("\n")[: places.line(path) - 1])
        try:
            known = paths(tomllib.loads(before))
        except tomllib.TOMLDecodeError:
            continue  # the line is in the middle of a value
        assert path not in known, "it was there before its line"
