# Any, because the type inferred from Keras' source is "Unknown | OpenVINOKerasTensor | None" whatever the backend.
from typing import Any

def __getattr__(name: str) -> Any: ...
