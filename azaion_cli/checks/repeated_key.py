"""Repeated key: one that a YAML file has twice in a block, of which readers take the last without a word."""

from __future__ import annotations

import yaml

from azaion_engine.errors import quote

_MERGE = "tag:yaml.org,2002:merge"
"""Tag of the key `<<`, of which all count."""


def repeated_key(text: str) -> str:
    """Returns in words which key of a YAML text is there twice; empty if none is, or the text is no YAML."""
    try:
        waiting = [yaml.compose(text, yaml.SafeLoader)]
    except yaml.YAMLError:
        return ""
    seen: set[yaml.Node | None] = set()
    while waiting:
        node = waiting.pop()
        if node in seen:  # an alias
            continue
        seen.add(node)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                waiting.append(value)
                if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                    continue
                line = key.start_mark.line + 1
                if first := lines.get((key.tag, key.value)):
                    return f"the key {quote(key.value)} is there twice in one block, in lines {first} and {line}"
                lines[key.tag, key.value] = line
    return ""
