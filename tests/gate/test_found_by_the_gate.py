"""What the gate once found in Plimsoll's own runtime. Each is a trial that failed then."""

from plimsoll.gate.verdict import Reach
from tests.gate.sample import hardened
from tests.gate.test_oracles import play


def test_a_resend_voids_the_doubts_old_answer() -> None:
    """A write that `verify` had cleared was sent again, the process died, and the old answer had it sent once more."""
    played = play(hardened(), ("server_error", "refund@4:refund"), ("crash_after_call", "primary@5:primary"))
    assert played.trial.passed and played.trial.reach is Reach.REACHED
    assert [row.tool for row in played.case.effects] == ["refund", "tell_customer"]


def test_a_write_is_not_sent_again_once_the_kill_switch_is_engaged() -> None:
    """The switch was asked before a call, and not before the call's further attempts."""
    played = play(hardened(), ("rate_limited", "refund@4:refund"), ("kill_switch", "refund.verify@4:refund"))
    assert played.trial.passed and played.trial.reach is Reach.REFUSED
    assert played.case.effects == ()


def test_no_attempt_follows_a_kill_switch_engaged_between_attempts() -> None:
    played = play(hardened(), ("server_error", "primary@1:primary"), ("kill_switch", "backup@1:primary"))
    assert played.trial.passed and played.trial.reach is Reach.REFUSED
