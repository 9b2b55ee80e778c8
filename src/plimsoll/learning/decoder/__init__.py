"""Models that write: a causal language model as a rung of one's own, whose calls have the form that a tool asks for.

tools         what may be called: names and JSON Schemas, read and checked, and arguments held against them
conversation  messages as OpenAI's chat completions have them, read and checked
forms         how a model writes a call, and a conversation for models whose template knows none
prompt        a conversation as tokens, in which nobody but the template sets control tokens
grammar       either a text, or a call of one of these tools: what may come next, token by token
causal        `Decoder`: a model from a directory, in this process
addresses     which servers are one's own
served        `Served`: a model behind an OpenAI-compatible server, such as vLLM or llama.cpp

Nothing is imported here: `causal`, `prompt` and `grammar` need the extra `learning`, `tools`, `forms` and `served` the
extra `served`, which is part of it.
"""
