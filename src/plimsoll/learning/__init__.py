"""Learning: from an agent's rows to a small transformer of its own, and back into the agent.

rows           texts and their labels, read from files and checked
journals       rows from a journal: what runs were asked, and which tool each called first
lineage        which runs a model's rows come from, carried from the rows' file into its directory
conversations  whole runs from a journal: each call from what came before it
guard_rows     rows for guards from a journal: handed to a person, changed something
weights        a transformer's directory, read and checked
encoder        a pre-trained transformer of the BERT family, which turns texts into vectors
linear         the head over those vectors, and what its logits mean
head           fitting a head by logistic regression
calibration    probabilities that mean what they say, and a bound below which no label fits
judging        a calibrated head, judged by rows that it was not fitted on
options        the methods, and what each does where nothing else is said
training       fine-tuning of all weights or of adapters, resumable
contrast       fine-tuning by few examples
transfer       `fit`: rows and an encoder become a model's directory
curves         how a training went, in numbers
manifest       what stands in such a directory
card           what is said of it to people
export         the same model in int8, for ONNX Runtime
rounding       a graph in 8 bits whose texts do not depend on one another
classifier     answers with the exported model, without PyTorch
leave_one_out  which words spoke for an answer, by asking again without each
decoder        models that write, from a directory or behind a server
guards         judges an agent's texts with exported models, as its contract says
registry       which models there are, who is champion by the gate's word, and back
local          what a rung of a ladder asks: the seam to agents
policy         a model of one's own for such a rung: the next call, and its arguments
loading        such a model, by what a contract calls it

Nothing is imported here: `rows`, `journals`, `conversations`, `guard_rows`, `lineage`, `options`, `curves`, `manifest`,
`local` and `loading` need no extra, `classifier`, `guards`, `leave_one_out`, `linear` and `policy` need `inference`,
`registry` needs `registry` when it is asked, the others `learning`.
"""
