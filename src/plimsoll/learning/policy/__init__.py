"""A policy: an agent's next call, and its arguments, decided by a small encoder.

course            what was called of late, in a few words
candidates        where an argument's value can be: in the request, in results
reading           the encoder of an export, with each token's vector
pointing          a softmax over all those places
answers           what is said when no call is left to make
store             what the directory holds
model             `Policy`: the LocalModel
options           how one is fitted
fitting_pointers  where values came from, found out by L-BFGS
fitting           `fit_policy`
card              what is said of it to people

The first six and `Policy` need the extra `inference`, the others `learning`.
"""

from plimsoll.learning.policy.model import Policy

__all__ = ["Policy"]
