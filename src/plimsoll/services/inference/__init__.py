"""The inference service: an exported model behind HTTP, which says what a text is, which way it goes, and why.

app       the application: routes, admission, deadlines, and clients that leave
asking    what may be asked at each endpoint, and what is answered
batching  what is asked at the same time, read together
models    which model answers, and how it is exchanged for the next
metrics   what Prometheus is told
"""

from plimsoll.core.errors import MissingExtra

try:
    import numpy as _numpy  # noqa: F401
    import onnxruntime as _onnxruntime  # noqa: F401
    import prometheus_client as _prometheus_client  # noqa: F401
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError as error:
    raise MissingExtra(error.name or "starlette", extra="inference-service") from error

from plimsoll.services.inference.app import InferenceOptions, create_inference, serve
from plimsoll.services.inference.models import DirectorySource, ModelSource

__all__ = ["DirectorySource", "InferenceOptions", "ModelSource", "create_inference", "serve"]
