"""A recipe's knobs as options of the command line."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from visionkit.train.learning import Learning
from visionkit.types import DataError

LEARNING = cyclopts.Parameter(name="*", group="How the weights are updated")  # of an option of type Learning


def parse_knobs(
    verb: str, recipe: Path, recipe_function: Callable, words: Sequence[str], own: dict[str, tuple]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Reads the words of a command line by the signature of a recipe.

    A knob of type Learning is given by the names of its fields; fields that are not given keep the recipe's default.

    Args:
        verb: the verb, for the help and for messages.
        recipe: the recipe's file, for the same.
        recipe_function: the function in it.
        words: of the command line.
        own: name -> (annotation, default) of the options that `verb` has besides the recipe's knobs.

    Returns:
        The recipe's knobs and the verb's own options; None where the words ask for help, which is printed.

    Raises:
        DataError: the recipe has a knob with the name of one of those options, or of a field of Learning.
    """
    signature = inspect.signature(recipe_function, eval_str=True)
    of_learning = [p.name for p in signature.parameters.values() if p.annotation is Learning]
    taken = [*own, *(one.name for one in dataclasses.fields(Learning) if of_learning)]
    if both := [name for name in taken if name in signature.parameters]:
        raise DataError(f"{recipe}: its knob {both[0]} has the name of an option of visionkit {verb}; rename it")
    command = _command_of(signature, own, recipe_function.__globals__["__doc__"])
    parser = cyclopts.App(name=f"visionkit {verb} {recipe}", default_command=command, result_action="return_value")
    if {"--help", "-h"} & set(words):
        parser.help_print([])
        return None
    _, bound, _ = parser.parse_args(list(words), exit_on_error=False, print_error=False)
    bound.apply_defaults()
    knobs = dict(bound.arguments)
    for name in of_learning:
        knobs[name] = Learning(**dataclasses.asdict(knobs[name]))
    return knobs, {name: knobs.pop(name) for name in own}


def _command_of(signature: inspect.Signature, own: dict[str, tuple], doc: str | None) -> Callable:
    """A function with a recipe's parameters and a verb's own options, from which the parser makes options."""

    def command(**given: Any) -> dict[str, Any]:
        return given

    parameters = [_knob(parameter) for parameter in signature.parameters.values()]
    for name, (annotation, default) in own.items():
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
    described: Any = command
    described.__signature__ = signature.replace(parameters=parameters)
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    described.__doc__ = doc
    return command


def _knob(parameter: inspect.Parameter) -> inspect.Parameter:
    """A recipe's parameter as the parser sees it; one of type Learning becomes an option for each of its fields."""
    # By name alone: otherwise the word after a flag, as in --masks false, would be taken for the next knob.
    parameter = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    if parameter.annotation is not Learning:
        return parameter
    default = parameter.default if isinstance(parameter.default, Learning) else Learning()
    fields = [
        (one.name, one.type, dataclasses.field(default=getattr(default, one.name)))
        for one in dataclasses.fields(Learning)
    ]
    about = {"__doc__": Learning.__doc__, "__module__": __name__}
    kind = dataclasses.make_dataclass("Learning", fields, bases=(Learning,), namespace=about, frozen=True, kw_only=True)
    # The default must be of that class too: pydantic, where something has imported it, checks defaults.
    return parameter.replace(annotation=Annotated[kind, LEARNING], default=kind(**dataclasses.asdict(default)))
