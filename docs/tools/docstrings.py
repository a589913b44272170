"""An extension of griffe, which reads the package for the reference without importing it.

It writes the `Example:` of a docstring in the form that griffe knows, and gives the sparse layers the signatures that
their mixins make together.
"""

import re

import griffe

CODE = re.compile(r"(?:^|(?<=\n\n))>>> .*?(?=\n\n|\Z)", re.DOTALL)


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = with_sections(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        for module in pkg.modules.values():
            if module.name == "layers":
                for cls in classes_below(module):
                    merge_signatures(cls)


def with_sections(text: str) -> str:
    """The docstring with the lines below `Example:` indented, as `Examples:`; other examples become code blocks."""
    head, mark, example = text.partition("\nExample:\n\n")
    head = CODE.sub(lambda match: f"```python\n{without_prompts(match[0])}\n```", head)
    if not mark:
        return head
    code, gap, rest = example.partition("\n\n")
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return f"{head}\nExamples:\n{indented}{gap}{rest}"


def without_prompts(code: str) -> str:
    return "\n".join(re.sub(r"^(>>>|\.\.\.) ?", "", line) for line in code.splitlines())


def classes_below(module: griffe.Module):
    for inner in module.modules.values():
        yield from (cls for cls in inner.classes.values() if not cls.is_alias)


def merge_signatures(cls: griffe.Class) -> None:
    """Give a class without an `__init__` one whose keywords are those of all its bases in this package."""
    if "__init__" in cls.members:
        return
    inits = [base.members["__init__"] for base in cls.mro() if "__init__" in base.members]
    if len(inits) < 2:
        return
    named = {}
    for init in reversed(inits):
        named.update({one.name: one for one in init.parameters if one.kind is griffe.ParameterKind.keyword_only})
    named.pop("method_state", None)  # Keras passes it when it loads a model
    first = [one for one in inits[0].parameters if one.kind is not griffe.ParameterKind.keyword_only]
    last = [one for one in first if one.kind is griffe.ParameterKind.var_keyword]
    parameters = [one for one in first if one not in last] + list(named.values()) + last
    cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*parameters), parent=cls))
