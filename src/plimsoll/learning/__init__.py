"""Learning: from an agent's rows to a small transformer of its own, and back into the agent.

rows         texts and their labels, read from files and checked
encoder      a pre-trained transformer of the BERT family, which turns texts into vectors
head         logistic regression over those vectors
calibration  probabilities that mean what they say, and texts that no label fits
training     fine-tuning: all weights, low-rank adapters, or few examples, resumable
transfer     `fit`: rows and an encoder become a model's directory
manifest     what stands in such a directory, and what is said of it
export       the same model in int8, for ONNX Runtime
classifier   answers with the exported model, without PyTorch

Nothing is imported here: `rows` and `manifest` need no extra, `classifier` needs `inference`, the others `learning`.
"""
