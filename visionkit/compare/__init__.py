"""Compares models on the same images: which is better, by how much, and whether chance could have done it.

The package can be called: `vk.compare({"old": model, "new": other}, dataset)` is
`visionkit.compare.contest.compare_models`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.compare.contest", "compare_models")
