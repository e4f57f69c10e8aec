"""GraphQL documents carried out on plain dicts, without a schema.

A node is a dict; a field is a value, or a function of the field's arguments that gives one. What a
node does not have is refused as the service refuses a field that its schema lacks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    parse,
)
from graphql.utilities import value_from_ast_untyped

Node = dict[str, Any]

INTERFACES = {"ArtifactCollection": {"ArtifactSequence", "ArtifactPortfolio"}}


class Refused(Exception):
    """What is asked is not done; carries the HTTP status that the service gives it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Document:
    """A parsed document of one operation."""

    operation: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]

    @property
    def name(self) -> str:
        """The operation's name; what an anonymous one asks for first."""
        if self.operation.name:
            return self.operation.name.value
        first = self.operation.selection_set.selections[0]
        return first.name.value if isinstance(first, FieldNode) else ""


@lru_cache(maxsize=1000)
def read(text: str) -> Document:
    """Raises Refused for what is no document of exactly one operation.

    The `operationName` of a request is not looked at: wandb-core sends "" (measured, 0.31).
    """
    try:
        nodes = parse(text).definitions
    except GraphQLSyntaxError as error:
        raise Refused(f"Syntax error: {error.message}") from None
    operations = [node for node in nodes if isinstance(node, OperationDefinitionNode)]
    if len(operations) != 1:
        raise Refused("Must provide operation name if query contains multiple operations.")
    found = [node for node in nodes if isinstance(node, FragmentDefinitionNode)]
    return Document(operations[0], {node.name.value: node for node in found})


def execute(document: Document, given: Mapping[str, Any], root: Node) -> dict[str, Any]:
    """The data that a document selects of a root."""
    variables = _variables(document.operation, given)
    selection = _Selection(document.fragments, variables)
    found: dict[str, Any] = selection.of([document.operation.selection_set], root)
    return found


def _variables(operation: OperationDefinitionNode, given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for definition in operation.variable_definitions:
        name = definition.variable.name.value
        if name in given:
            found[name] = given[name]
        elif definition.default_value is not None:
            found[name] = value_from_ast_untyped(definition.default_value)
        if isinstance(definition.type, NonNullTypeNode) and found.get(name) is None:
            raise Refused(f'Variable "${name}" of required type was not provided.')
    return found


def _call(name: str, field: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(field).bind(**arguments)
    except TypeError as error:
        raise Refused(f'Argument of field "{name}": {error}.') from None
    return field(**arguments)


@dataclass(frozen=True)
class _Selection:
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]

    def of(self, sets: list[SelectionSetNode], value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            return [self.of(sets, item) for item in value]
        if not isinstance(value, dict):
            raise Refused("Field must not have a selection since it has no subfields.")
        return {key: self._field(nodes, value) for key, nodes in self._fields(sets, value).items()}

    def _field(self, nodes: list[FieldNode], node: Node) -> Any:
        name = nodes[0].name.value
        kind = node.get("__typename", "Query")
        if name not in node:
            raise Refused(f'Cannot query field "{name}" on type "{kind}".')
        value = node[name]
        if callable(value):
            value = _call(name, value, self._arguments(nodes[0]))
        sets = [found.selection_set for found in nodes if found.selection_set]
        return self.of(sets, value) if sets else value

    def _arguments(self, node: FieldNode | Any) -> dict[str, Any]:
        found = {}
        for argument in node.arguments:
            value = value_from_ast_untyped(argument.value, dict(self.variables))
            if value is not Undefined:
                found[argument.name.value] = _given(value)
        return found

    def _fields(self, sets: list[SelectionSetNode], node: Node) -> dict[str, list[FieldNode]]:
        """Fields by the key of the answer: what stands twice is merged."""
        found: dict[str, list[FieldNode]] = {}
        for selection in (part for each in sets for part in each.selections):
            if not self._included(selection):
                continue
            if isinstance(selection, FieldNode):
                key = (selection.alias or selection.name).value
                found.setdefault(key, []).append(selection)
                continue
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in self.fragments:
                    raise Refused(f'Unknown fragment "{name}".')
                part: Any = self.fragments[name]
            else:
                assert isinstance(selection, InlineFragmentNode)
                part = selection
            if _applies(part.type_condition, node):
                for key, nodes in self._fields([part.selection_set], node).items():
                    found.setdefault(key, []).extend(nodes)
        return found

    def _included(self, node: Any) -> bool:
        for directive in node.directives:
            condition = bool(self._arguments(directive).get("if"))
            if condition != (directive.name.value == "include"):
                return False
        return True


def _applies(condition: Any, node: Node) -> bool:
    kind = node.get("__typename")
    if condition is None or kind is None:
        return True
    return kind == condition.name.value or kind in INTERFACES.get(condition.name.value, ())


def _given(value: Any) -> Any:
    """Without the fields of input objects whose variables were not given."""
    if isinstance(value, dict):
        return {key: _given(part) for key, part in value.items() if part is not Undefined}
    return [_given(part) for part in value] if isinstance(value, list) else value
