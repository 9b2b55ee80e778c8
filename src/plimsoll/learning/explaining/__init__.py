"""Explaining: why a model answered as it did, and how far its answers can be relied on.

fitted     a fitted model that answers as an export does, with PyTorch: it has gradients
gradients  which words spoke for an answer, by integrated gradients
deletion   whether the words that an explanation names are those that the answer hangs on
slices     where a model does worse: long texts, given words, groups of people
report     all that is said of a model on rows: calibration, confusions, slices, the deletion test
plots      its figures, as SVG
reading    an explanation as it is read: the text in pieces
html       an explanation, or a report, as one page

Nothing is imported here. `deletion`, `reading` and `html` need `inference`, the others `learning`. Which words spoke
for an answer of an export is told by `plimsoll.learning.leave_one_out`.
"""
