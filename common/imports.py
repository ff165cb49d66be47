"""Import of what users name as `module:name`."""

import importlib
import traceback

from lethe.common.errors import InputError

RAISED = (Exception, SystemExit, GeneratorExit)
"""What a user's code may raise, whatever it is; all but the Ctrl-C of its user."""


def load(kind: str, name: str, given: str, example: str) -> object:
    """The object that `name`, written `module:object`, names; `given` is the name in messages, `kind` of what it is.

    `InputError` where `name` is not written so, there is no such module, the module imports one that is not
    installed, or has no such object. `example` is a name as it should be.
    """
    module_name, _, object_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), object_name)):
        raise InputError(f"{kind} '{given}': expected {example}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(f"{kind} '{given}': {_not_imported(module_name, error)}") from error
    except RAISED as error:
        raise InputError(f"{kind} '{given}': {module_name} cannot be imported: {told(error)}") from error
    try:
        return getattr(module, object_name)
    except AttributeError:
        raise InputError(f"{kind} '{given}': {module_name} has no {object_name}") from None
    except RAISED as error:  # by a __getattr__ of the module
        raise InputError(f"{kind} '{given}': {module_name} cannot be read: {told(error)}") from error


def told(error: BaseException) -> str:
    """An error of a user's code in one line: where it was raised, its type and text."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}: " if error.filename else ""
        return f"{place}{type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    text = " ".join(str(error).split())
    return f"{place}{type(error).__name__}{': ' if text else ''}{text}"


def _not_imported(module_name: str, error: ModuleNotFoundError) -> str:
    """Whether the module is missing, or one that it imports."""
    if f"{module_name}.".startswith(f"{error.name}."):
        place = module_name.replace(".", "/")
        return (
            f"module '{error.name}' is not found: expected {place}.py in the current folder, or an installed "
            "module"
        )
    return f"{module_name} is there, but what it imports is not installed: {error}"
