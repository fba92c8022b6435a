"""ClassMatch: which class of the model each class of a data set is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from azaion_engine.errors import InvalidParameterError
from azaion_engine.evaluation.data_set import DataSet

_SHOWN = 20
"""Class names of a list in a message."""


@dataclass(frozen=True)
class ClassMatch:
    """The classes to score.

    Attributes:
        model_ids: Class id of the model by class id of the data set; labels of other classes are not scored.
        names: Name by class id of the model.
        notes: How they were matched, where it is not plain; one sentence each.
    """

    model_ids: Mapping[int, int]
    names: Mapping[int, str]
    notes: tuple[str, ...] = ()


def match_classes(
    data: DataSet, model: Mapping[int, str], *, by_id: bool = False, only: Collection[int] | None = None
) -> ClassMatch:
    """Matches the classes of a data set with those of a model: by name (case-insensitive), or by id.

    Where one of both names no classes, ids are compared. Classes of which the data set is known to have no label may be
    missing in the model.

    Args:
        data: The labelled pictures.
        model: Class name by id; may be empty.
        by_id: Whether to compare ids and ignore names.
        only: Class ids of the model to score; None scores all, and both then need to have the same classes.

    Raises:
        InvalidParameterError: The classes differ; the message shows both.
    """
    notes: list[str] = []
    if by_id or not data.names or not model:
        if not by_id:
            who = "the model" if not model else "the data set"
            notes.append(f"{who} names no classes: ids are compared")
        if data.format == "COCO":
            notes.append("categories are numbered 0, 1, 2 … in the order of their ids")
        model_ids = {class_id: class_id for class_id in _ids(data, model)}
    else:
        model_ids = _by_name(data, model, only)
        if any(ours != theirs for ours, theirs in model_ids.items()):
            notes.append("the data set numbers its classes otherwise than the model: they are matched by name")
    if only is not None:
        if missing := set(only) - set(model_ids.values()):
            named = _listed({class_id: model.get(class_id, "") for class_id in missing})
            raise InvalidParameterError(f"classes: the data set has no class {named}; it has {_listed(data.names)}")
        model_ids = {ours: theirs for ours, theirs in model_ids.items() if theirs in only}
    names = {
        theirs: model.get(theirs) or data.names.get(ours) or f"class_{theirs}" for ours, theirs in model_ids.items()
    }
    return ClassMatch(model_ids, names, tuple(notes))


def _ids(data: DataSet, model: Mapping[int, str]) -> set[int]:
    labelled = data.labelled_classes()
    if model and (foreign := labelled - set(model)):
        raise InvalidParameterError(
            f"the data set has labels of class {', '.join(map(str, sorted(foreign)[:_SHOWN]))}, which the model does "
            f"not have: it has {_listed(model)}"
        )
    ids = set(data.names) | labelled
    return ids & set(model) if model else ids


def _by_name(data: DataSet, model: Mapping[int, str], only: Collection[int] | None) -> dict[int, int]:
    for owner, names in (("data set", data.names), ("model", model)):
        twice = [name for name, count in Counter(map(str.casefold, names.values())).items() if count > 1]
        if twice:
            raise InvalidParameterError(
                f"the {owner} has two classes named {twice[0]!r}: names cannot be compared, ids can (--by-id)"
            )
    known = {name.casefold(): class_id for class_id, name in model.items()}
    matched = {class_id: known[name.casefold()] for class_id, name in data.names.items() if name.casefold() in known}
    lacking = {i: name for i, name in data.names.items() if i not in matched and i not in data.unlabelled}
    extra = {i: name for i, name in model.items() if i not in matched.values()}
    if only is None and (lacking or extra):
        both = [model[class_id] for class_id in sorted(matched.values())][:_SHOWN]
        advice = "--by-id compares ids without names"
        if both:
            advice += f"; --classes {','.join(both)!r} scores what both name"
        raise InvalidParameterError(
            f"the classes of the data set and of the model differ: the data set has {_listed(data.names)}; the model "
            f"has {_listed(model)}; only the data set has {_named(lacking.values())}, only the model "
            f"{_named(extra.values())} ({advice})"
        )
    return matched


def _listed(names: Mapping[int, str]) -> str:
    shown = [f"{class_id} {name}".strip() for class_id, name in sorted(names.items())]
    return _named(shown)


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    if not listed:
        return "none"
    return ", ".join(listed[:_SHOWN]) + (f" … ({len(listed)})" if len(listed) > _SHOWN else "")
