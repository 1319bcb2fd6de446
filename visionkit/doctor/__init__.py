"""Finds what is wrong with a data set before hours of training do.

The package can be called: `vk.doctor("my_data")` is `visionkit.doctor.examine.examine`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.doctor.examine", "examine")
