"""The registry: which models there are, where each comes from, what the gate said of it, and which one serves.

MLflow keeps it: runs, parameters, metrics, files, versions and their aliases, in a SQLite file of one's own or on a
server that others see. What is promised here is ours: a champion has a verdict of the gate that binds to that very
model; it can be taken back; what is fetched is what was registered.

references   `registry:NAME@champion`: how a version is named
places       where the registry is, and where fetched models are kept
describing   what the registry says of a model's directory
tracking     MLflow, and all that is used of it: the one module that needs the extra `registry`
registering  a directory becomes a version
verdicts     does this verdict of the gate speak for this model?
promoting    the champion: who becomes it, and back
fetching     a version's files, verified by their digests
telling      what is known of a version: its verdict, its scores, where its rows come from
resolving    from a reference to a directory, as agents and services ask for it

`resolve`, `located` and `RegistrySource` import MLflow only when they are asked.
"""

from plimsoll.learning.registry.references import Reference, is_reference
from plimsoll.learning.registry.resolving import RegistrySource, located, resolve

__all__ = ["Reference", "RegistrySource", "is_reference", "located", "resolve"]
