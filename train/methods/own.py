"""A method of the user's own, which a run finds by its place: `--method=my_module:MyMethod`."""

import dataclasses
import importlib
import inspect

from keras_dsr import Reallocate, methods
from train.methods.base import Method, Plan


@dataclasses.dataclass(frozen=True)
class Own(Method):
    """A `keras_dsr.methods.Method` of the user's own. It acts as often as DSR by the same recipe.

    Attributes:
        method: what decides.
    """

    moves = True
    method: methods.Method

    @property
    def every_step(self) -> bool:
        return self.method.every_step

    @property
    def has_period(self) -> bool:
        return not self.every_step

    def numbers(self) -> dict:
        return {"method": described(self.method)}

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        return plan.recipe.method("dsr").periods(plan)

    def callback(self, plan: Plan) -> Reallocate:
        timing = {} if self.every_step else {"period": self.periods(plan)}
        return Reallocate(self.method, **timing, stop_at=plan.stop_at, seed=plan.settings.seed)


def is_own(name: str) -> bool:
    """Whether the name of a method is the place of one of the user's own."""
    return isinstance(name, str) and ":" in name


def load_own_method(place: str) -> Own:
    """The method at a place: an instance, or a class that needs no arguments.

    Args:
        place: `module:name`; the module is imported, from the current directory too.

    Raises:
        ValueError: there is no such module, no such name, or it is no method that can be used.
    """
    module_name, _, name = place.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise _refusal(place, "a module and a name in it with a colon between, such as my_module:MyMethod")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports one that is not
        raise _refusal(
            place,
            f"in a module that can be imported. There is no module {module_name!r} in the current directory or among "
            "the installed packages (write the name of a file without .py)",
        ) from None
    if not hasattr(module, name):
        raise _refusal(
            place, f"a name that the module has. {module.__file__} has no {name!r}; it has {_methods_in(module)}"
        )
    found = getattr(module, name)
    if isinstance(found, type) and issubclass(found, methods.Method):
        _check_class(found, place)
        found = found()
    if not isinstance(found, methods.Method):
        raise _refusal(
            place, f"a class or an instance of keras_dsr.methods.Method. {name!r} is {found!r}, of type {type(found)}"
        )
    return Own(found)


def described(value):
    """A value as JSON can hold it, so that a run is resumed with the arguments it began with.

    A dataclass is described by its fields; a function and any other object by its name alone.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: described(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, (list, tuple)):
        return [described(each) for each in value]
    if isinstance(value, dict):
        return {str(key): described(each) for key, each in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)


def _check_class(found: type, place: str) -> None:
    if inspect.isabstract(found):
        lacking = " and ".join(sorted(found.__abstractmethods__))
        raise _refusal(place, f"a class that can be used. {found.__name__} does not define {lacking}")
    parameters = inspect.signature(found).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in variable]
    if needed:
        arguments = ", ".join(f"{name}=..." for name in needed)
        raise _refusal(
            place,
            f"a class that needs no arguments, or an instance. {found.__name__} needs {', '.join(needed)}: write "
            f"mine = {found.__name__}({arguments}) in the module, and pass --method={place.partition(':')[0]}:mine",
        )


def _methods_in(module) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, methods.Method)
        or (isinstance(value, type) and issubclass(value, methods.Method) and value is not methods.Method)
    ]
    return f"the methods {', '.join(names)}" if names else "no methods"


def _refusal(place: str, expected: str) -> ValueError:
    return ValueError(f"--method must be {expected}. Received: --method={place}")
