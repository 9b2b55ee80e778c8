"""`plimsoll audit`, `plimsoll erase` and `plimsoll keys`: a journal that is encrypted, checked, shown and erased."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from plimsoll.journal.keys import new_master_key
from plimsoll.observability.webhook import webhook_key
from tests.journal.sqlite.test_migration import VERSION_1

from .conftest import User

JOURNAL = Path(".plimsoll/journal.db")


@pytest.fixture
def sealed(user: User) -> User:
    """A user whose journal is encrypted and checkpointed, with a run that ended and one that waits."""
    user.ok("keys", "make", "journal.key")
    user.ok("keys", "make", "audit.key", "--signing")
    user.edit(
        "[gate]\n",
        '[journal]\nencrypt = true\nkey_file = "journal.key"\nsigning_key_file = "audit.key"\n\n[gate]\n',
    )
    user.asks("refund 20", run_id="t1")
    user.asks("refund 120", run_id="t2")
    return user


def tampered(sql: str) -> None:
    with sqlite3.connect(JOURNAL) as file:
        assert file.execute(sql).rowcount
    file.close()


def verified(user: User, *arguments: str, code: int = 0) -> list[str]:
    """What `audit verify` prints, line by line."""
    result = user.run("audit", "verify", *arguments)
    assert result.exit_code == code, result.output
    return result.output.splitlines()


# --------------------------------------------------------------------------------------------------------------- keys


def test_keys_are_made_for_their_owner_and_never_overwritten(user: User) -> None:
    assert "[journal] encrypt = true, key_file = …" in user.ok("keys", "make", "journal.key")
    assert "audit.key.pub verifies" in user.ok("keys", "make", "audit.key", "--signing")
    modes = {name: Path(name).stat().st_mode & 0o777 for name in ("journal.key", "audit.key", "audit.key.pub")}
    assert modes == {"journal.key": 0o600, "audit.key": 0o600, "audit.key.pub": 0o644}
    assert "Give it to whoever gets the alerts" in user.ok("keys", "make", "alerts.key", "--webhook")
    assert Path("alerts.key").stat().st_mode & 0o777 == 0o600
    assert len(webhook_key(Path("alerts.key").read_text(), source="alerts.key")) == 32
    assert "one key does not do both" in user.refused("keys", "make", "both.key", "--signing", "--webhook")
    before = Path("journal.key").read_text()
    assert "is there already, and a key must not be lost" in user.refused("keys", "make", "journal.key")
    assert Path("journal.key").read_text() == before
    assert "cannot be written: No such file or directory" in user.refused("keys", "make", "no/such/folder.key")


def test_another_master_key(sealed: User) -> None:
    sealed.ok("keys", "make", "new.key")
    said = sealed.ok("keys", "rotate", "new.key", "--by", "ann")
    assert said.startswith("2 run keys are under the new master key ")
    assert "Put new.key in the place of the old one" in said
    assert "Encrypted, and its key is not here" in sealed.ok("runs", "show", "t1")
    shutil.move("new.key", "journal.key")
    assert "Encrypted" not in sealed.ok("runs", "show", "t1")
    assert sealed.json("audit", "log")["acts"][0]["act"] == "keys_rewrapped"


def test_a_rotation_that_lacks_a_key(sealed: User) -> None:
    assert "nowhere.key cannot be read" in sealed.refused("keys", "rotate", "nowhere.key")
    Path("empty.key").write_text("# nothing yet\n")
    assert "empty.key holds no master key" in sealed.refused("keys", "rotate", "empty.key")
    sealed.ok("keys", "make", "new.key")
    Path("journal.key").write_text(new_master_key())
    assert "is encrypted under master key" in sealed.refused("keys", "rotate", "new.key")
    sealed.edit('key_file = "journal.key"\n', "")
    assert "the master key used so far is not here" in sealed.refused(
        "keys", "rotate", "new.key", env={"PLIMSOLL_JOURNAL_KEY": None}
    )


# -------------------------------------------------------------------------------------------------------------- audit


def test_a_journal_that_is_as_it_was_written(sealed: User) -> None:
    first, *rest = verified(sealed, "--key", "audit.key.pub")
    assert first.startswith("Everything is as it was written: 2 runs, ")
    assert rest[0].startswith("Checkpoints cover ") and len(rest) == 1
    assert "Who signed was not checked: give --key" in verified(sealed)[-1]
    report = sealed.json("audit", "verify", "--key", "audit.key.pub")
    assert (report["ok"], report["damages"], report["covered"]) == (True, [], report["events"])
    assert verified(sealed, str(JOURNAL), "--key", "audit.key.pub")[0] == first


def test_a_journal_that_is_not(sealed: User) -> None:
    tampered("UPDATE events SET at = at + 1 WHERE seq = 2 AND run = (SELECT key FROM runs WHERE run_id = 't1')")
    lines = verified(sealed, "--key", "audit.key.pub", code=1)
    assert lines[0] == "t1, event 2: the record, or the one before it, was altered"
    assert "Not everything is as it was written" in lines[-3] and "docs/operations.md" in lines[-1]
    result = sealed.run("audit", "verify", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["damages"][0]["seq"] == 2


def test_a_journal_that_was_set_back(sealed: User) -> None:
    shutil.copy(JOURNAL, "earlier.db")
    sealed.asks("refund 30", run_id="t3")
    assert "Checkpoint " in sealed.ok("audit", "checkpoint", "--out", "kept.json")
    assert verified(sealed, "--against", "kept.json")[0].startswith("Everything is as it was written")
    lines = verified(sealed, "earlier.db", "--against", "kept.json", "--key", "audit.key.pub", code=1)
    assert lines[0].startswith("the journal: the journal was set back, or forged: checkpoint ")


def test_a_journal_too_damaged_to_be_gone_through(sealed: User) -> None:
    content = JOURNAL.read_bytes()
    JOURNAL.write_bytes(content[:16] + b"\xff" * 64 + content[80:])
    for log in JOURNAL.parent.glob("journal.db-*"):
        log.unlink()
    assert "the journal: " in verified(sealed, code=1)[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key", "journal.key"), "journal.key holds no Ed25519 public key in PEM"),
        (("--key", "nowhere.pub"), "nowhere.pub cannot be read"),
        (("--against", "nowhere.json"), "nowhere.json cannot be read"),
        (("--against", "plimsoll.toml"), "plimsoll.toml holds no checkpoint"),
        (("nowhere.jsonl",), "nowhere.jsonl cannot be read"),
        (("plimsoll.toml",), "this is no export of a journal"),
        (("plimsoll.toml", "--against", "plimsoll.toml"), "--against goes with a journal"),
    ],
)
def test_what_could_not_be_tried(sealed: User, arguments: tuple[str, ...], words: str) -> None:
    assert words in sealed.refused("audit", "verify", *arguments, code=2)


def test_checkpoints(sealed: User) -> None:
    before = sealed.json("audit", "checkpoint")
    assert before["new"] is False
    assert f"Checkpoint {before['number']} of 20" in sealed.ok("audit", "checkpoint")
    assert "covers everything; nothing is new" in sealed.ok("audit", "checkpoint")
    sealed.ok("kill", "--all", "--reason", "a drill")
    made = sealed.json("audit", "checkpoint")
    assert (made["number"], made["new"]) == (before["number"] + 1, True)
    assert "cannot be written" in sealed.refused("audit", "checkpoint", "--out", "no/such/folder.json")
    sealed.edit('signing_key_file = "audit.key"\n', "")
    assert "there is no key to sign with" in sealed.refused("audit", "checkpoint", env={"PLIMSOLL_SIGNING_KEY": None})
    assert sealed.ok("audit", "checkpoint", env={"PLIMSOLL_SIGNING_KEY": Path("audit.key").read_text()})


def test_a_journal_without_any_of_it(user: User) -> None:
    user.asks("refund 20", run_id="t1")
    lines = verified(user)
    assert lines[0].startswith("Everything is as it was written: 1 runs") and lines[0].endswith("0 checkpoints.")
    user.ok("keys", "make", "audit.key", "--signing")
    lines = verified(user, "--key", "audit.key.pub", code=1)
    assert lines[0] == "the journal: there is no checkpoint: nothing shows that this is all there ever was"
    assert "was recorded without encryption" in user.refused("erase", "t1", "--reason", "asked")


# ------------------------------------------------------------------------------------------------------------- export


def test_an_export_verifies_by_itself_elsewhere(sealed: User, tmp_path: Path) -> None:
    assert "holds 2 runs. Verify it by: plimsoll audit verify all.jsonl" in sealed.ok("audit", "export", "all.jsonl")
    assert sealed.json("audit", "export", "t1.jsonl", "t1")["runs"] == 1
    shutil.rmtree(JOURNAL.parent)
    Path("plimsoll.toml").unlink()
    for name, runs in (("all.jsonl", 2), ("t1.jsonl", 1)):
        lines = verified(sealed, name, "--key", "audit.key.pub")
        assert lines[0].startswith(f"Everything is as it was written: {runs} runs")
    assert b'"amount":' not in Path("all.jsonl").read_bytes()
    text = Path("t1.jsonl").read_text().replace('"seq":3', '"seq":4')
    Path("t1.jsonl").write_text(text)
    assert any("Not everything" in line for line in verified(sealed, "t1.jsonl", code=1))


def test_an_export_that_can_be_read(sealed: User) -> None:
    sealed.ok("audit", "export", "t2.jsonl", "t2", "--decrypt")
    assert b'"amount":120' in Path("t2.jsonl").read_bytes()
    assert verified(sealed, "t2.jsonl", "--key", "audit.key.pub")[0].startswith("Everything")


def test_what_is_not_exported_leaves_no_file(sealed: User) -> None:
    assert "no run 'nobody' in this journal" in sealed.refused("audit", "export", "out.jsonl", "t1", "nobody")
    assert not Path("out.jsonl").exists()
    Path("out.jsonl").write_text("mine")
    assert "out.jsonl cannot be written: File exists" in sealed.refused("audit", "export", "out.jsonl")
    assert Path("out.jsonl").read_text() == "mine"
    Path("journal.key").write_text(new_master_key())
    assert "is encrypted under master key" in sealed.refused("audit", "export", "secret.jsonl", "t1", "--decrypt")
    assert not Path("secret.jsonl").exists()


def test_an_audit_changes_nothing_in_what_it_audits(sealed: User) -> None:
    with sqlite3.connect(JOURNAL) as file:  # somebody uses it, so that its log is not brought in by the closing of it
        file.execute("SELECT count(*) FROM events").fetchone()
        before = {each.name: each.read_bytes() for each in JOURNAL.parent.glob("journal.db*") if each.is_file()}
        before.pop("journal.db-shm")
        verified(sealed, "--key", "audit.key.pub")
        sealed.ok("audit", "log")
        assert {name: (JOURNAL.parent / name).read_bytes() for name in before} == before
    file.close()


def test_a_journal_of_an_earlier_format_is_audited_and_left_as_it_is(user: User) -> None:
    old = Path("old.db")
    with sqlite3.connect(old) as file:
        file.executescript(VERSION_1)
    file.close()
    before = old.read_bytes()
    said = verified(user, "old.db")
    assert said[0].startswith("Everything is as it was written: 0 runs, 0 events")
    assert user.ok("audit", "log", "--journal", "old.db").count("engaged") == 1
    assert old.read_bytes() == before


# -------------------------------------------------------------------------------------------------------------- erase


def test_an_erased_run_is_gone_and_the_journal_verifies(sealed: User) -> None:
    assert "20" in sealed.ok("runs", "show", "t1")
    said = sealed.ok("erase", "t1", "--reason", "request 4711", "--by", "ann")
    assert said == "Run t1 is erased, by ann: request 4711\n"
    again = sealed.json("erase", "t1", "--reason", "once more", "--by", "bo")
    assert [(each["run_id"], each["by"], each["reason"]) for each in again["erased"]] == [("t1", "ann", "request 4711")]
    shown = sealed.ok("runs", "show", "t1")
    assert "Erased 20" in shown and "`plimsoll audit log` tells by whom and why" in shown
    whole = sealed.json("runs", "show", "t1")
    assert whole["events"][0]["input"] == whole["result"]["output"] == "[erased]" and whole["erased_at"]
    first = verified(sealed, "--key", "audit.key.pub")[0]
    assert first.startswith("Everything is as it was written: 2 runs, 1 of them erased, ")
    assert "run t1 was erased; `plimsoll audit log`" in sealed.refused("runs", "resume", "t1")
    log = sealed.ok("audit", "log", width=200)
    assert "erased" in log and "t1" in log and "ann" in log and "request 4711" in log


def test_a_run_that_has_not_ended_is_erased_by_force_alone(sealed: User) -> None:
    said = sealed.refused("erase", "t2", "--reason", "asked")
    assert "run t2 is parked: it may go on with what would be erased" in said and "--force" in said
    assert sealed.json("runs", "list", "--state", "parked")["runs"][0]["run_id"] == "t2"
    sealed.ok("erase", "t2", "--reason", "asked", "--force")
    (row,) = [row for row in sealed.json("runs", "list")["runs"] if row["run_id"] == "t2"]
    assert row["state"] == "halted"
    assert sealed.ok("runs", "resume") == "Nothing can go on: no run was decided, has expired, or was left behind.\n"
    assert verified(sealed)[0].startswith("Everything")
    assert "its run has ended (halted)" in sealed.refused("approvals", "approve", "t2.a1", "--by", "ana")


def test_what_cannot_be_erased(sealed: User) -> None:
    assert "no run 'nobody' in this journal" in sealed.refused("erase", "nobody", "--reason", "asked")
    assert "Missing option '--reason'" in sealed.refused("erase", "t1", code=2)
    assert sealed.ok("audit", "log") == "Nothing of the kind was done.\n"


def test_with_a_session_go_its_turns(sealed: User) -> None:
    for turn in (1, 2):
        sealed.asks("refund 20", run_id=f"chat/{turn}")
    sealed.asks("refund 20", run_id="chatter")
    erased = sealed.json("erase", "chat", "--reason", "asked")["erased"]
    assert [each["run_id"] for each in erased] == ["chat/1", "chat/2"]
    assert sealed.json("audit", "verify")["erased"] == 2


def test_kill_switches_stand_in_the_log(user: User) -> None:
    user.asks("refund 20", run_id="t1")
    user.ok("kill", "--all", "--reason", "a drill", "--by", "ann")
    user.ok("kill", "--all", "--release", "--by", "bo")
    acts = user.json("audit", "log")["acts"]
    assert [(act["act"], act["by"], act["reason"]) for act in acts] == [
        ("kill_switch_engaged", "ann", "a drill"),
        ("kill_switch_released", "bo", ""),
    ]
