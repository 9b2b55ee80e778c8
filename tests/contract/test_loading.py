from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.converting import convert, describe_type, dotted
from plimsoll.contract.loading import (
    Source,
    contract_digest,
    load_contract,
    load_source,
    parse_contract,
    resolve_path,
)
from plimsoll.contract.model import Contract, Limits, Mode, Model, Tool
from plimsoll.core.calls import Effect, Fault
from plimsoll.core.errors import ContractError, Misuse

WHOLE = """
[agent]
name = "shop-assistant"
entrypoint = "shop.agent:agent"

[limits]
steps = 20
seconds = 60
usd = 0.5

[protections]
approvals = "observe"

[models.primary]
timeout_s = 20
fallback = ["small", "canned"]
retry = { on = ["rate_limited", "timeout"], max_attempts = 2 }

[models.small]
id = "openai:gpt-5-mini"

[models.canned]
canned = "I cannot answer now."
may_write = false

[tools.find_order]
effect = "read"

[tools.refund]
verify = "shop.tools:verify_refund"
refuse_when = "amount > 1000"
claims = ["refunded"]
output = { type = "object", required = ["id"] }

[tools.refund.approval]
when = "amount > 50"
approvers = ["ann@example.com"]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ContractError) as caught:
        parse_contract(text, file="p.toml")
    return [str(problem) for problem in caught.value.problems]


def test_a_contract_is_read_with_its_defaults() -> None:
    contract = parse_contract(WHOLE, file="p.toml")
    assert contract.limits == Limits(steps=20, seconds=60.0, usd=0.5)
    assert contract.protections.approvals is Mode.OBSERVE
    assert contract.protections.limits is Mode.ENFORCE
    assert contract.models["primary"].retry is not None
    assert contract.models["primary"].retry.on == (Fault.RATE_LIMITED, Fault.TIMEOUT)
    assert contract.models["canned"] == Model(canned="I cannot answer now.", may_write=False)
    assert contract.tools["find_order"].effect is Effect.READ
    assert contract.tools["refund"].effect is Effect.WRITE
    assert contract.tools["refund"].output.required == ("id",)
    assert contract.tool("unheard_of") == Tool()


def test_the_smallest_contract_is_a_name() -> None:
    contract = parse_contract('agent.name = "a"', file="p.toml")
    assert contract == Contract(agent=contract.agent)
    assert contract.models == {"primary": Model()}


AGENT_FIELDS = "one of name, entrypoint, deps, harness, new_version"
AGENT = '[agent]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[agnt]\n",
            [
                "p.toml:1: agent: is missing → a table",
                "p.toml:1: agnt: there is no field 'agnt' here → did you mean 'agent'?",
            ],
        ),
        ("[agent]\n", ["p.toml:1: agent.name: is missing → text of letters, digits, dots, dashes and underscores, "
                       "such as shop-assistant"]),
        (
            AGENT + "[tools.refund]\ntimeout = 5\neffect = 'wrte'\n\ntimeout_s = -1\n",
            [
                "p.toml:4: tools.refund.timeout: there is no field 'timeout' here → did you mean 'timeout_s'?",
                "p.toml:5: tools.refund.effect: is the text 'wrte' → did you mean 'write'?",
                "p.toml:7: tools.refund.timeout_s: is -1 → a number greater than 0",
            ],
        ),
        (
            AGENT + "[limits]\nsteps = 0\nseconds = nan\nusd = inf\ntokens = 1.5\nrepeats = true\n",
            [
                "p.toml:4: limits.steps: is 0 → a whole number of at least 1",
                "p.toml:5: limits.seconds: is nan → a number greater than 0",
                "p.toml:6: limits.usd: is inf → a number greater than 0",
                "p.toml:7: limits.tokens: is 1.5 → a whole number of at least 1",
                "p.toml:8: limits.repeats: is true → a whole number of at least 2",
            ],
        ),
        (
            AGENT + "[protections]\nlimits = 'warn'\nloops = false\n",
            [
                "p.toml:4: protections.limits: is the text 'warn' → one of enforce, observe",
                "p.toml:5: protections.loops: is false → one of enforce, observe",
            ],
        ),
        (
            AGENT + '[models.primary.retry]\non = [\n  "timeout",\n  "time_out",\n  5,\n]\nbase_s = 0\n',
            [
                "p.toml:6: models.primary.retry.on[1]: is the text 'time_out' → did you mean 'timeout'?",
                f"p.toml:7: models.primary.retry.on[2]: is 5 → one of {', '.join(Fault)}",
                "p.toml:9: models.primary.retry.base_s: is 0 → a number greater than 0",
            ],
        ),
        (
            AGENT + "[tools.refund.approval]\nwhen = 'amount >> 5'\n[tools.pay]\nrefuse_when = 'amount = 5'\n",
            [
                "p.toml:3: tools.refund.approval.approvers: is missing → a list of text",
                "p.toml:4: tools.refund.approval.when: '>' comes where a value was expected, at column 9 of the rule "
                "→ write something like amount > 50",
                "p.toml:6: tools.pay.refuse_when: '=' means nothing in a rule, at column 8 of the rule "
                "→ write == to compare",
            ],
        ),
        (
            AGENT + "tools = 5\nlimits = [1]\n[[gate]]\nseed = 1\n[models]\nprimary = 'gpt'\n",
            [
                "p.toml:3: agent.tools: there is no field 'tools' here → " + AGENT_FIELDS,
                "p.toml:4: agent.limits: there is no field 'limits' here → " + AGENT_FIELDS,
                "p.toml:5: gate: is a list → a table, [gate]",
                "p.toml:8: models.primary: is the text 'gpt' → a table, [models.primary]",
            ],
        ),
        (
            'tools = 5\nagent = 1979-05-27\njournal.path = 07:32:00\n[gate]\nstorm_target = 1\nscenarios = "shop"\n',
            [
                "p.toml:1: tools: is 5 → a table",
                "p.toml:2: agent: is a date → a table, [agent]",
                "p.toml:3: journal.path: is a time → text",
                "p.toml:5: gate.storm_target: is 1 → a number greater than 0 and less than 1",
                "p.toml:6: gate.scenarios: is the text 'shop' → a Python name written module:attribute, "
                "such as shop.agent:agent",
            ],
        ),
        (
            AGENT + '[tools."send mail".output]\ntype = "json"\nrequired = "id"\nmay_be_empty = "no"\n',
            [
                'p.toml:4: tools."send mail".output.type: is the text \'json\' '
                "→ one of array, boolean, integer, number, object, string",
                "p.toml:5: tools.\"send mail\".output.required: is the text 'id' → a list of text",
                "p.toml:6: tools.\"send mail\".output.may_be_empty: is the text 'no' → true or false",
            ],
        ),
        (
            AGENT + 'entrypoint = "' + "x" * 50 + '"\n[models.primary]\ncanned = ""\nid = { a = 1 }\n',
            [
                "p.toml:3: agent.entrypoint: is a text of 50 letters → a Python name written module:attribute, "
                "such as shop.agent:agent",
                "p.toml:5: models.primary.canned: is the text '' → text, not empty",
                "p.toml:6: models.primary.id: is a table → text",
            ],
        ),
        ("", ["p.toml:1: contract: the contract is empty → run `plimsoll init` to write one"]),
        ("# nothing\n\n", ["p.toml:1: contract: the contract is empty → run `plimsoll init` to write one"]),
        # --- syntax
        (
            AGENT + "effect = write\n",
            [
                "p.toml:3: contract: not TOML: Invalid value "
                "→ text needs quotes (name = \"value\"); yes and no are written true and false"
            ],
        ),
        (
            AGENT + 'name = "b"\n',
            ["p.toml:3: contract: not TOML: Cannot overwrite a value → this name is used twice in its table; keep one"],
        ),
        (
            AGENT + "[limits]\n[limits]\n",
            [
                "p.toml:4: contract: not TOML: Cannot declare ('limits',) twice "
                "→ this table is declared twice; put its settings together"
            ],
        ),
        (
            "[agent\n",
            [
                "p.toml:1: contract: not TOML: Expected ']' at the end of a table declaration "
                "→ close the table's name with ]"
            ],
        ),
        (
            AGENT + "\n[models.primary]\nfallback = ['a',\n",
            ["p.toml:5: contract: not TOML: Invalid value → something is not closed: a text, a list ], or a table }"],
        ),
        ("a = " + "[" * 3000, ["p.toml:1: contract: nested too deep to be read → write it flatter"]),
    ],
)  # fmt: skip
def test_every_problem_is_told_with_its_place(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_a_contract_error_is_misuse_and_lists_all() -> None:
    with pytest.raises(Misuse) as caught:
        parse_contract("[agent]\n[limits]\nsteps = 0\n", file="p.toml")
    assert str(caught.value).count("\n") == 1


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "plimsoll.toml", WHOLE)
    assert load_contract(path) == load_contract(str(path)) == parse_contract(WHOLE, file="x")


def test_windows_line_ends_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "plimsoll.toml", b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode())
    assert load_contract(path) == parse_contract(WHOLE, file="x")
    write(path, "[agent]\r\nname = 'a'\r\n[limits]\r\nsteps = 0\r\n")
    with pytest.raises(ContractError, match=r"plimsoll\.toml:4: limits\.steps"):
        load_contract(path)


def message(path: Path) -> str:
    with pytest.raises(ContractError) as caught:
        load_contract(path)
    return str(caught.value).replace(str(path), "FILE")


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    missing = message(tmp_path / "no.toml")
    assert missing == "FILE:1: contract: there is no such file → run `plimsoll init` to write one"
    folder = message(tmp_path)
    assert folder == "FILE:1: contract: is a directory → name the file in it: FILE/plimsoll.toml"
    latin = message(write(tmp_path / "l.toml", b'[agent]\n\nname = "caf\xe9"'))
    assert latin == "FILE:3: contract: byte 0xe9 is not UTF-8 → save the file with the encoding UTF-8"
    empty = message(write(tmp_path / "e.toml", ""))
    assert empty == "FILE:1: contract: the contract is empty → run `plimsoll init` to write one"
    assert "cannot be read (" in message(write(tmp_path / "f", "x") / "plimsoll.toml")


def test_a_source_is_read_even_if_it_is_no_contract(tmp_path: Path) -> None:
    source = load_source(write(tmp_path / "x.toml", "a = 1\nb = 2\n"))
    problem = source.problem(("b",), "what", "fix", severity="warning")
    assert (problem.line, problem.field, problem.severity) == (2, "b", "warning")
    assert source.problem((), "what", "fix").field == "contract"
    assert source == Source(source.file, source.text)


@given(st.text(max_size=200) | st.text("[]{}=\"'.,\n #a1-", max_size=60))
def test_no_text_raises_anything_but_a_contract_error(text: str) -> None:
    try:
        parse_contract(text, file="p.toml")
    except ContractError as error:
        assert all(1 <= problem.line <= text.count("\n") + 1 for problem in error.problems)


# ------------------------------------------------------------------------------------------------ soundness


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[models.primary]\nfallback = ["nope"]\n',
            ["p.toml:4: models.primary.fallback[0]: no model is called nope → add [models.nope]"],
        ),
        (
            '[models.primary]\nfallback = [\n"smal",\n"primary"]\n[models.small]\n',
            [
                "p.toml:5: models.primary.fallback[0]: no model is called smal → did you mean small?",
                "p.toml:6: models.primary.fallback[1]: falls back to itself → name another model",
            ],
        ),
        (
            '[models.a]\nfallback = ["b"]\n[models.b]\nfallback = ["a"]\n',
            [
                "p.toml:4: models.a.fallback[0]: b falls back to a in its turn "
                "→ a ladder goes one way: take one of them out",
                "p.toml:6: models.b.fallback[0]: a falls back to b in its turn "
                "→ a ladder goes one way: take one of them out",
            ],
        ),
        (
            '[tools.a.output]\npattern = "("\n',
            [
                "p.toml:4: tools.a.output.pattern: is no regular expression: missing ), unterminated subpattern at "
                "position 0 → mend it, or remove it"
            ],
        ),
        (
            '[limits]\nsteps = 0\n[models.primary]\nfallback = ["nope"]\n',
            [
                "p.toml:4: limits.steps: is 0 → a whole number of at least 1",
                "p.toml:6: models.primary.fallback[0]: no model is called nope → add [models.nope]",
            ],
        ),
        (
            '[models]\nprimary = 3\nx = { fallback = "primary" }\ny = { fallback = [1] }\n',
            [
                "p.toml:4: models.primary: is 3 → a table, [models.primary]",
                "p.toml:5: models.x.fallback: is the text 'primary' → a list of text",
                "p.toml:6: models.y.fallback[0]: is 1 → text",
            ],
        ),
    ],
)
def test_what_no_run_could_do_is_refused_when_it_is_read(text: str, expected: list[str]) -> None:
    assert problems(AGENT + text) == expected


def test_what_can_be_run_safely_is_read_and_left_to_the_check() -> None:
    parse_contract(AGENT + "[tools.a]\napproval = { approvers = [] }\nretry = { on = ['timeout'] }\n", file="p.toml")


def test_a_key_that_is_no_toml_is_told_and_no_crash() -> None:
    assert "not TOML" in problems('"\x08"')[0]


# ------------------------------------------------------------------------------------------------ digest


def digest_of(text: str) -> str:
    return contract_digest(parse_contract(text, file="p.toml"))


def test_the_digest_is_of_what_is_decided_and_not_of_how_it_is_written() -> None:
    same = 'limits = { steps = 50 }\n# comment\n[tools.b]\n[tools.a]\neffect = "write"\n[agent]\nname="a"\n'
    assert digest_of(AGENT + "[tools.a]\n[tools.b]\n") == digest_of(same)
    assert digest_of(AGENT) != digest_of(AGENT + "[limits]\nsteps = 51\n")
    assert digest_of(AGENT) != digest_of(AGENT + "[tools.a]\n")
    ladder = AGENT + "[models.x]\n[models.y]\n[models.primary]\nfallback = ['{}', '{}']\n"
    assert digest_of(ladder.format("x", "y")) != digest_of(ladder.format("y", "x"))


def test_the_digest_counts_defaults() -> None:
    class Smaller(msgspec.Struct, frozen=True, omit_defaults=True):
        steps: int = 50

    class Larger(msgspec.Struct, frozen=True, omit_defaults=True):
        steps: int = 51

    assert contract_digest(Smaller()) != contract_digest(Larger())  # type: ignore[arg-type]


def test_paths_are_from_the_contracts_folder(tmp_path: Path) -> None:
    file = tmp_path / "plimsoll.toml"
    assert resolve_path(".plimsoll/journal.db", contract_file=file) == tmp_path / ".plimsoll/journal.db"
    assert resolve_path("/var/journal.db", contract_file=str(file)) == Path("/var/journal.db")
    assert resolve_path("j.db", contract_file="plimsoll.toml") == Path("j.db")


# -------------------------------------------------------------------------------------------- converting


def test_what_a_model_checks_across_its_fields_is_reported_too() -> None:
    class Span(msgspec.Struct, frozen=True):
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    found: list[str] = []
    assert convert({"low": 2, "high": 1}, Span, report=lambda path, what, fix: found.append(what)) is None
    assert found == ["low is above high"]


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number"),
        (tuple[Mode, ...], "a list, each one of enforce, observe"),
        (dict[str, int], "a table"),
        (bytes, "another value"),
    ],
)
def test_types_are_told_in_plain_words(hint: object, words: str) -> None:
    assert describe_type(hint) == words


def test_fields_are_written_as_in_toml() -> None:
    assert dotted(("tools", "a.b", "on", 1)) == 'tools."a.b".on[1]'
