"""From URLs to databases."""

import asyncio
from pathlib import Path

import pytest

from plimsoll.contract.loading import parse_contract
from plimsoll.core.errors import Misuse
from plimsoll.runtime.databases.opening import open_database, open_databases
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from tests.runtime.databases.test_databases import mark

TRANSACTION = '[agent]\nname = "a"\n[tools.pay]\neffect = "transaction"\nconnection = "bank"\n'
DECLARED = TRANSACTION + '[connections.bank]\nurl = "sqlite:///bank.db"\n'


def test_a_relative_path_starts_in_the_contracts_folder(tmp_path: Path) -> None:
    (tmp_path / "bank.db").touch()

    async def main() -> None:
        databases = open_databases(parse_contract(DECLARED, file="p"), given={}, directory=tmp_path)
        session = databases["bank"].session(in_thread=True, wait_s=1.0)
        assert await session.hold(mark()) is None
        await session.commit(None)
        await session.close()

    asyncio.run(main())
    assert b"plimsoll_effects" in (tmp_path / "bank.db").read_bytes()


def test_a_mistyped_path_does_not_become_an_empty_database(tmp_path: Path) -> None:
    async def main() -> None:
        session = open_database("sqlite:///bnak.db", directory=tmp_path).session(in_thread=True, wait_s=1.0)
        with pytest.raises(FileNotFoundError, match=r"there is no database at .*bnak\.db"):
            await session.hold(mark())
        await session.close()

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_a_variable_of_the_environment_holds_the_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BANK_DB", f"sqlite:///{tmp_path}/bank.db")
    assert isinstance(open_database("env:BANK_DB"), SQLiteDatabase)


@pytest.mark.parametrize("value", [None, "", "env:BANK_DB", "mysql://root:secret@host/bank"])
def test_what_is_no_url_is_refused_without_being_told(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("BANK_DB", raising=False)
    else:
        monkeypatch.setenv("BANK_DB", value)
    with pytest.raises(Misuse) as caught:
        open_database("env:BANK_DB")
    assert "secret" not in str(caught.value)


def test_what_is_handed_over_goes_before_the_contract(tmp_path: Path) -> None:
    mine = SQLiteDatabase(tmp_path / "mine.db")
    assert open_databases(parse_contract(DECLARED, file="p"), given={"bank": mine}) == {"bank": mine}
    assert open_databases(parse_contract(TRANSACTION, file="p"), given={"bank": mine}) == {"bank": mine}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TRANSACTION, r"add \[connections.bank\], or hand it over"),
        (TRANSACTION.replace('connection = "bank"\n', ""), "names no `connection`"),
    ],
)
def test_a_transaction_without_a_database_does_not_start(text: str, says: str) -> None:
    with pytest.raises(Misuse, match=says):
        open_databases(parse_contract(text, file="p"), given={})
