"""The `composition` member of a version 3 contract and its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from wire.documents.json_reader import Path, quoted
from wire.documents.shape import ArrayOrNull, Document, Flag, Int32, RequiredIdentifier, TextOrEmpty, Texts

NEXT_LOCAL, RETURN, ROOT_TERMINAL = "NEXT_LOCAL", "RETURN", "ROOT_TERMINAL"
DIRECT, PIPELINE = "direct", "pipeline"

Broken = tuple[str, Path, str]
"""A broken rule: its code, the path inside the composition, and a message."""


class Node(Document):
    """One step of a definition. It runs directly, or it represents another definition."""

    index: Int32 = 0
    node_id: RequiredIdentifier
    kind: RequiredIdentifier
    input_contract_id: RequiredIdentifier
    output_contract_id: RequiredIdentifier
    cardinality: RequiredIdentifier
    target_definition_id: TextOrEmpty = ""
    accepted_contract_ids: Texts = ()
    terminal: Flag = False


class Continuation(Document):
    """What follows the node at the same position."""

    node_id: RequiredIdentifier
    kind: RequiredIdentifier
    next_node_id: TextOrEmpty = ""


class Definition(Document):
    """One pipeline of the composition."""

    definition_id: RequiredIdentifier
    definition_fingerprint: RequiredIdentifier
    input_contract_id: RequiredIdentifier
    output_contract_id: RequiredIdentifier
    nodes: Annotated[tuple[Node, ...], ArrayOrNull] = ()
    continuations: Annotated[tuple[Continuation, ...], ArrayOrNull] = ()


class Composition(Document):
    """A root definition and the definitions that it uses. Empty unless the contract is composed."""

    root_definition_id: TextOrEmpty = ""
    definitions: Annotated[tuple[Definition, ...], ArrayOrNull] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing is composed, which every schema version allows."""
        return not self.root_definition_id.strip() and not self.definitions


def broken_rules(composition: Composition) -> Iterator[Broken]:
    """Yield the rules that a composition of valid shape breaks."""
    if composition.is_empty:
        return
    yield from _identity_rules(composition)
    known = frozenset(definition.definition_id for definition in composition.definitions)
    root = composition.root_definition_id
    for position, definition in enumerate(composition.definitions):
        at: Path = ("definitions", position)
        yield from _node_rules(definition, known, at)
        # Without a root it is unknown how a definition must end.
        ending = None if root not in known else ROOT_TERMINAL if definition.definition_id == root else RETURN
        yield from _continuation_rules(definition, ending, at)
    yield from _graph_rules(composition)


def _identity_rules(composition: Composition) -> Iterator[Broken]:
    root = composition.root_definition_id
    times = Counter(definition.definition_id for definition in composition.definitions)
    if not root.strip():
        message = "rootDefinitionId is required where there are definitions"
        yield "COMPOSITION_ROOT_MISSING", ("rootDefinitionId",), message
    elif not composition.definitions:
        message = "definitions are required where there is a rootDefinitionId"
        yield "COMPOSITION_DEFINITIONS_MISSING", ("definitions",), message
    elif root not in times:
        yield "COMPOSITION_ROOT_UNKNOWN", ("rootDefinitionId",), f"no definition is named {quoted(root)}"
    earlier: set[str] = set()
    for position, definition in enumerate(composition.definitions):
        if definition.definition_id in earlier:
            message = f"the definition {quoted(definition.definition_id)} appears more than once"
            yield "COMPOSITION_DEFINITION_DUPLICATE", ("definitions", position, "definitionId"), message
        earlier.add(definition.definition_id)


def _node_rules(definition: Definition, known: frozenset[str], at: Path) -> Iterator[Broken]:
    if not definition.nodes:
        yield "COMPOSITION_NODES_EMPTY", (*at, "nodes"), "a definition needs at least one node"
    earlier: set[str] = set()
    for position, node in enumerate(definition.nodes):
        here: Path = (*at, "nodes", position)
        if node.index != position:
            message = f"node indexes count from 0 without a gap: expected {position}, found {node.index}"
            yield "COMPOSITION_NODE_INDEX", (*here, "index"), message
        if node.node_id in earlier:
            message = f"the node {quoted(node.node_id)} appears more than once"
            yield "COMPOSITION_NODE_DUPLICATE", (*here, "nodeId"), message
        earlier.add(node.node_id)
        yield from _target_rules(node, known, here)


def _target_rules(node: Node, known: frozenset[str], here: Path) -> Iterator[Broken]:
    target = node.target_definition_id
    if node.kind == DIRECT:
        if target:
            message = "a direct node has no target definition"
            yield "COMPOSITION_TARGET_UNEXPECTED", (*here, "targetDefinitionId"), message
    elif node.kind == PIPELINE:
        if target not in known:
            message = f"no definition is named {quoted(target)}"
            yield "COMPOSITION_TARGET_UNKNOWN", (*here, "targetDefinitionId"), message
    else:
        message = f"a node is {DIRECT} or {PIPELINE}, not {quoted(node.kind)}"
        yield "COMPOSITION_NODE_KIND", (*here, "kind"), message


def _continuation_rules(definition: Definition, ending: str | None, at: Path) -> Iterator[Broken]:
    nodes, continuations = definition.nodes, definition.continuations
    if len(nodes) != len(continuations):
        message = f"{len(nodes)} nodes need as many continuations, not {len(continuations)}"
        yield "COMPOSITION_CONTINUATION_COUNT", (*at, "continuations"), message
    last = len(nodes) - 1
    for position, (node, continuation) in enumerate(zip(nodes, continuations, strict=False)):
        here: Path = (*at, "continuations", position)
        if continuation.node_id != node.node_id:
            message = f"the continuation at {position} belongs to the node {quoted(node.node_id)}"
            yield "COMPOSITION_CONTINUATION_NODE", (*here, "nodeId"), message
        expected = NEXT_LOCAL if position < last else ending
        if expected is not None and continuation.kind != expected:
            message = f"the continuation must be {expected}, not {quoted(continuation.kind)}"
            yield "COMPOSITION_CONTINUATION_KIND", (*here, "kind"), message
        if position < last and continuation.next_node_id != nodes[position + 1].node_id:
            message = f"the next node is {quoted(nodes[position + 1].node_id)}"
            yield "COMPOSITION_CONTINUATION_NEXT", (*here, "nextNodeId"), message


# --- the graph of definitions ---------------------------------------------------------------------


def _graph_rules(composition: Composition) -> Iterator[Broken]:
    uses = {definition.definition_id: _uses(definition) for definition in reversed(composition.definitions)}
    yield from _cycles(composition, uses)
    if composition.root_definition_id not in uses:
        return
    reached = _reached(composition.root_definition_id, uses)
    for position, definition in enumerate(composition.definitions):
        if definition.definition_id not in reached:
            message = f"the root does not reach the definition {quoted(definition.definition_id)}"
            yield "COMPOSITION_UNREACHABLE", ("definitions", position), message


def _uses(definition: Definition) -> list[tuple[int, str]]:
    """Return (node position, target) of every node that represents another definition than its own."""
    return [
        (position, node.target_definition_id)
        for position, node in enumerate(definition.nodes)
        if node.kind == PIPELINE and node.target_definition_id != definition.definition_id
    ]


def _cycles(composition: Composition, uses: dict[str, list[tuple[int, str]]]) -> Iterator[Broken]:
    """Yield each use that leads back to a definition on the current path. Depth-first, without recursion."""
    position_of: dict[str, int] = {}
    for at, definition in enumerate(composition.definitions):
        position_of.setdefault(definition.definition_id, at)
    done: set[str] = set()
    for start in position_of:
        if start in done:
            continue
        on_path = {start}
        stack = [(start, iter(uses[start]))]
        while stack:
            current, rest = stack[-1]
            position, target = next(rest, (-1, ""))
            if position < 0:
                stack.pop()
                on_path.discard(current)
                done.add(current)
            elif target in on_path:
                path: Path = ("definitions", position_of[current], "nodes", position, "targetDefinitionId")
                yield "COMPOSITION_CYCLE", path, f"{quoted(current)} leads back to {quoted(target)}"
            elif target in uses and target not in done:
                on_path.add(target)
                stack.append((target, iter(uses[target])))


def _reached(root: str, uses: dict[str, list[tuple[int, str]]]) -> set[str]:
    reached = {root}
    pending = [root]
    while pending:
        for _, target in uses[pending.pop()]:
            if target in uses and target not in reached:
                reached.add(target)
                pending.append(target)
    return reached
