"""Lets a package be called like its main function, for `vk.evaluate(...)` beside `visionkit.evaluate.scores`."""

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that stands for the function `main` (module, name); the module is imported with the first call."""

    main: tuple[str, str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function(self)(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function(self))


def stands_for(package: str, module: str, name: str) -> None:
    """Lets the package of this name be called as the function `name` of `module`."""
    found: Any = sys.modules[package]
    found.__class__ = CallablePackage
    found.main = (module, name)


def _function(package: CallablePackage) -> Any:
    module, name = package.main
    return getattr(importlib.import_module(module), name)
