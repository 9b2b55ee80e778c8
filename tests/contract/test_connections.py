"""Connections, transactions and compensations in a contract: what is refused, and what is said of the rest."""

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.contract.shapes import ToolShape
from plimsoll.core.errors import ContractError

HEAD = '[agent]\nname = "a"\n'
SOUND = """
[tools.pay]
effect = "transaction"
connection = "bank"
retry = { on = ["connection"] }
claims = ["I have paid"]
output = { type = "object" }
compensate = "json:loads"

[tools."pay.compensate"]
effect = "transaction"
connection = "bank"
retry = { on = ["connection"] }
claims = ["I have taken it back"]
output = { type = "object" }

[connections.bank]
url = "env:BANK_DB"
"""


def told(text: str, **options: object) -> list[str]:
    source = Source("p", HEAD + text)
    problems = check_contract(parse_contract(source.text, file="p"), source=source, **options)  # type: ignore[arg-type]
    return [f"{each.severity}: {each.field}: {each.what}" for each in problems if not each.field.startswith("gate")]


def test_nothing_is_wrong_with_a_transaction_that_can_be_undone() -> None:
    shapes = [ToolShape(name="pay", parameters={"type": "object", "properties": {}})]
    assert [line for line in told(SOUND) if "pay" in line or "bank" in line] == []
    assert [line for line in told(SOUND, tools=shapes) if "no such tool" in line] == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('connection = "bank"\nretry = { on = ["connection"] }\nclaims = ["I have paid"]', 'claims = ["I have paid"]',
         "error: tools.pay.connection: is missing: a transaction works on a connection"),
        ("[connections.bank]", "[connections.bnak]",
         "warning: tools.pay.connection: no connection is called bank"),
        ('effect = "transaction"\nconnection = "bank"\nretry = { on = ["connection"] }\nclaims = ["I have paid"]',
         'effect = "idempotent"\nconnection = "bank"\nretry = { on = ["connection"] }\nclaims = ["I have paid"]',
         "warning: tools.pay.connection: is for transactions, and the effect is idempotent"),
        ('compensate = "json:loads"', 'verify = "json:loads"',
         "warning: tools.pay.verify: is never asked: the database itself says whether a transaction happened"),
        ('compensate = "json:loads"\n', "",
         'warning: tools."pay.compensate": says how pay is undone, and pay names no `compensate`'),
        ('compensate = "json:loads"', 'compensate = "no_such_module:undo"',
         "error: tools.pay.compensate: no module no_such_module is found"),
        ("[connections.bank]", '[connections.spare]\nurl = "sqlite:///x.db"\n[connections.bank]',
         "warning: connections.spare: no transaction works on it"),
        ("env:BANK_DB", "postgresql://ana:secret@host/bank",
         "error: connections.bank.url: holds a password, and a contract is read by many and kept for ever"),
        ("env:BANK_DB", "postgresql://host/bank?password=secret",
         "error: connections.bank.url: holds a password, and a contract is read by many and kept for ever"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_told(old: str, new: str, says: str) -> None:
    assert old in SOUND
    lines = told(SOUND.replace(old, new, 1))
    assert says in lines
    assert "secret" not in "".join(lines)


def test_a_read_has_nothing_to_undo() -> None:
    lines = told('[tools.look]\neffect = "read"\ncompensate = "json:loads"\n')
    assert "warning: tools.look.compensate: a read does nothing that could be undone" in lines


@pytest.mark.parametrize("url", ["bank.db", "sqlite:///", "mysql://host/bank", "env:", "env:no way", "env:1ST"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ContractError, match="sqlite:///FILE, postgresql://"):
        parse_contract(f'{HEAD}[connections.bank]\nurl = "{url}"\n', file="p")
