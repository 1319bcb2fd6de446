"""The environment of a process that runs on JAX."""

# XLA's optimisations take longer than these programs run: without most of them a process needs about two thirds of the
# time.
FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
ON_JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS}
