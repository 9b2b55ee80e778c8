"""Human oversight: which calls need a person's word, and whose word counts for what."""

from plimsoll.oversight.approvals import ApprovalBook, Request
from plimsoll.oversight.rules import RuleBook, Ruling

__all__ = ["ApprovalBook", "Request", "RuleBook", "Ruling"]
