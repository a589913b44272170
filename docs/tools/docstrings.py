"""An extension of griffe, which reads the package for the reference without importing it.

It writes the `Example:` of a docstring in the form that griffe knows, makes links of the public names in docstrings,
gives the sparse layers the signatures that their mixins make together, and tells functions from modules of their name.
"""

import re

import griffe

CODE = re.compile(r"(?:^|(?<=\n\n))>>> .*?(?=\n\n|\Z)", re.DOTALL)
NAME = re.compile(r"(?<!`)`(?P<name>[A-Za-z_][\w.]*)`(?!`)")
# What public functions return, and bases of layers: names that no `__all__` has.
OTHERS = {
    "CompactLayer": "keras_dsr.layers.CompactLayer",
    "CompactWeight": "keras_dsr.weights.compact_weight.CompactWeight",
    "ExportReport": "keras_dsr.exporting.export_report.ExportReport",
    "MaskedLayer": "keras_dsr.layers.MaskedLayer",
    "Outcome": "keras_dsr.weights.reallocation.Outcome",
    "Sensitivity": "keras_dsr.analysis.sensitivity_report.Sensitivity",
    "ShrinkReport": "keras_dsr.shrinking.report.ShrinkReport",
    "SkippedRow": "keras_dsr.conversion.sparsify_report.SkippedRow",
    "SparseRow": "keras_dsr.conversion.sparsify_report.SparseRow",
    "SparseVariable": "keras_dsr.optimizers.sparse_variable.SparseVariable",
    "SparseWeight": "keras_dsr.weights.sparse_weight.SparseWeight",
    "SparsifyReport": "keras_dsr.conversion.sparsify_report.SparsifyReport",
    "Summary": "keras_dsr.analysis.summary.Summary",
    "SummaryRow": "keras_dsr.analysis.summary.SummaryRow",
    "layers.storage.HasStorage": "keras_dsr.layers.storage.HasStorage",
}


class Docstrings(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        links = public_names(pkg) | (OTHERS if pkg.name == "keras_dsr" else {})
        for each in objects_in(pkg):
            if each.docstring:
                each.docstring.value = with_links(with_sections(each.docstring.value), links, each.name)
            if each.is_class and each.path.startswith("keras_dsr.layers."):
                merge_signatures(each)
        uncover_functions(pkg)


def objects_in(parent: griffe.Object):
    """All objects below one, each once."""
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from objects_in(member)


def uncover_functions(pkg: griffe.Module) -> None:
    """Have a public name that is a function and a module mean the function, as it does when imported."""
    for name in map(str, pkg.exports or []):
        member = pkg.members[name]
        module = member.final_target if member.is_alias else member
        if module.is_module and name in module.members:
            pkg.set_member(name, griffe.Alias(name, target=module.members[name], parent=pkg))


def public_names(pkg: griffe.Module) -> dict[str, str]:
    """Each spelling of a public name in docstrings, with its place in the reference."""
    found = {}
    for module in (pkg.modules[name] for name in ("methods", "schedules", "layers") if name in pkg.modules):
        for name in map(str, module.exports or []):
            path = f"{module.path}.{name}"
            found |= {path: path, path.removeprefix(f"{pkg.name}."): path, name: path}
    for name in map(str, pkg.exports or []):
        if name not in pkg.modules or pkg.modules[name].exports is None:
            found |= {f"{pkg.name}.{name}": f"{pkg.name}.{name}", name: f"{pkg.name}.{name}"}
    return found


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


def with_links(text: str, links: dict[str, str], own_name: str) -> str:
    """The docstring with a link at each public name but its own."""

    def link(match: re.Match) -> str:
        name = match["name"]
        return f"[{match[0]}][{links[name]}]" if name in links and name != own_name else match[0]

    lines = text.split("\n")
    return "\n".join(line if line.lstrip().startswith((">>>", "...")) else NAME.sub(link, line) for line in lines)


def merge_signatures(cls: griffe.Class) -> None:
    """Give a class without an `__init__` one whose keywords are those of all its bases in this package."""
    inits = [base.members["__init__"] for base in cls.mro() if "__init__" in base.members]
    if "__init__" in cls.members or not inits:
        return
    named = {}
    for init in reversed(inits):
        named.update({one.name: one for one in init.parameters if one.kind is griffe.ParameterKind.keyword_only})
    named.pop("method_state", None)  # Keras passes it when it loads a model
    others = [one for one in inits[0].parameters if one.kind is not griffe.ParameterKind.keyword_only]
    last = [one for one in others if one.kind is griffe.ParameterKind.var_keyword]
    first = [one for one in others if one not in last]
    parameters = griffe.Parameters(*first, *named.values(), *last)
    cls.set_member("__init__", griffe.Function("__init__", parameters=parameters, parent=cls))
