"""Every public name resolves, and its documentation says how to use it."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from tests.architecture.layout import SOURCE, source_files
from tests.architecture.pages import all_pages, find_blocks
from tools import rfc

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = [name for name in smtpx.__all__ if not name.startswith("_")]


def needs_example(name: str) -> bool:
    value = getattr(smtpx, name)
    return not (isinstance(value, type) and issubclass(value, (BaseException, Enum)))


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(
            node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        ):
            yield ast.get_docstring(node) or ""


def words_of_examples() -> set[str]:
    """List the words of all examples that run: in docstrings and on pages."""
    parser = doctest.DocTestParser()
    sources = [
        example.source
        for path in source_files()
        for text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        for example in parser.get_examples(text)
    ]
    sources += [
        block.text
        for page in all_pages()
        for block in find_blocks(page.read_text(encoding="utf-8"))
        if block.language == "python"
    ]
    return set(re.findall(r"\w+", "\n".join(sources)))


def own_methods(cls: type) -> Iterator[tuple[str, Any]]:
    """List the public methods and properties that a class of ours defines."""
    for base in cls.__mro__:
        if base.__module__.startswith("smtpx"):
            for name, value in vars(base).items():
                is_code = inspect.isroutine(value) or isinstance(
                    value, (property, classmethod, staticmethod)
                )
                if is_code and not name.startswith("_"):
                    yield f"{cls.__name__}.{name}", value


def lacks(name: str, value: object) -> list[str]:
    """Say what the docstring of a class, function or method lacks."""
    text = inspect.getdoc(value) or ""
    is_made_by_dataclass = text.startswith(f"{name}(")
    if not text or is_made_by_dataclass:
        return [f"{name} has no docstring"]
    if not inspect.isfunction(value):
        return []
    signature = inspect.signature(value)
    missing = [
        f"{name} does not document {parameter}"
        for parameter in signature.parameters
        if parameter not in {"self", "cls"} and f"{parameter}:" not in text
    ]
    if signature.parameters.keys() - {"self", "cls"} and "Args:" not in text:
        missing.append(f"{name} has no Args:")
    return missing


def test_the_table_the_imports_and_the_list_agree() -> None:
    """The interpreter reads the table, a type checker the imports and ``__all__``."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(imported) == sorted(NAMES)
    for name, module in imported.items():
        defined = getattr(importlib.import_module(module or ""), name)
        assert getattr(smtpx, name) is defined
    assert smtpx.__all__ == sorted(smtpx.__all__)
    assert set(smtpx.__all__) <= set(dir(smtpx))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        smtpx.nonsense  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(smtpx, name)
    missing = lacks(name, value)
    if isinstance(value, type):
        for method, definition in own_methods(value):
            missing += lacks(method, definition)
    assert missing == []


def test_public_names_stand_in_an_example_that_runs() -> None:
    """An exception is shown by what raises it, an enumeration by what takes it."""
    shown = words_of_examples()
    assert [name for name in NAMES if name not in shown and needs_example(name)] == []


@pytest.mark.parametrize("package", ["wire", "sasl"])
def test_every_file_of_the_grammar_cites_its_rfc(package: str) -> None:
    silent = [
        path.name
        for path in sorted((SOURCE / package).glob("[!_]*.py"))
        # It makes classes, and knows no grammar.
        if path.name != "values.py"
        and not list(rfc.find_citations(path.read_text(encoding="utf-8"), ""))
    ]
    assert silent == []
    assert list((SOURCE / package).glob("[!_]*.py")) != []
