"""Settings kept in objects whose attributes are their keys: EasyDict, ConfigDict, OmegaConf, ...

All of them become one kind of instance here, read by attribute or by subscript.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Arguments,
    Class,
    Const,
    Instance,
    Map,
    Seq,
    Site,
)
from convlint.program.facts import ObjectKind, Scalar
from convlint.program.walk import Walk

_PLAIN = ("types.SimpleNamespace", "argparse.Namespace")

_CONVERTING = (
    "easydict.EasyDict", "munch.Munch", "munch.munchify", "munch.Munch.fromDict",
    "ml_collections.ConfigDict", "ml_collections.FrozenConfigDict",
    "ml_collections.config_dict.ConfigDict", "ml_collections.config_dict.FrozenConfigDict",
    "ml_collections.config_dict.create", "yacs.config.CfgNode", "fvcore.common.config.CfgNode",
    "omegaconf.DictConfig", "omegaconf.OmegaConf.create", "omegaconf.OmegaConf.structured",
    "omegaconf.OmegaConf.to_container", "omegaconf.OmegaConf.to_object",
)  # fmt: skip
"""These turn dicts inside of them into their own kind."""

_GROWING = ("addict.Dict", "box.Box", "dotmap.DotMap")
"""These make what is missing when it is asked for, so an empty one is not followed as a table."""

_OF_A_DICT = frozenset({"get", "pop", "setdefault", "items", "keys", "values", "update"})

_COPIES = frozenset({"clone", "copy", "copy_and_resolve_references"})


def namespace(
    self: Walk,
    items: Mapping[Scalar, Abstract] | Mapping[str, Abstract],
    site: Site,
    complete: bool = True,
) -> Instance:
    """Settings with ``items`` as attributes, dicts inside of them alike."""
    made = self.new_instance(ObjectKind.INSTANCE, _PLAIN[0], site)
    made.complete = complete
    for key, value in items.items():
        if isinstance(key, str):
            made.attributes[key] = _nested(self, value, site)
    return made


def _nested(self: Walk, value: Abstract, site: Site) -> Abstract:
    if isinstance(value, Map):
        return namespace(self, value.items, site, value.complete)
    if isinstance(value, Seq):
        items = [_nested(self, item, site) for item in value.items]
        return Seq(value.kind, items, value.complete, value.node)
    return value


def is_namespace(value: Abstract) -> bool:
    """Whether a value holds settings by name and is of no class of the project."""
    return (
        isinstance(value, Instance)
        and value.kind is ObjectKind.INSTANCE
        and value.klass is None
        and value.cls in _PLAIN
    )


def namespace_method(
    self: Walk, settings: Instance, name: str, arguments: Arguments, site: Site
) -> Abstract:
    """A method of such an object: those of dicts, and the copies and locks of the libraries."""
    if name in _OF_A_DICT:
        items: dict[Scalar, Abstract] = dict(settings.attributes.items())
        table = Map(items, settings.complete, site)
        result = self.mapping_method(table, name, arguments, site)
        for key, value in table.items.items():
            if isinstance(key, str) and settings.attributes.get(key) is not value:
                self.write(settings.attributes, key, _nested(self, value, site))
        settings.complete = settings.complete and table.complete
        return result
    if name in _COPIES:
        return self.duplicate(settings, site)
    if name == "merge_from_file":
        # whatever that file says replaces what is said here
        for key in settings.attributes:
            self.write(settings.attributes, key, UNKNOWN)
    return UNKNOWN


def _plain(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    made = self.new_instance(ObjectKind.INSTANCE, _PLAIN[0], site)
    for key, argument in arguments.keywords.items():
        made.attributes[key] = argument.value
    return made


def _converted(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    content = arguments.positional[0].value if arguments.positional else None
    if isinstance(content, Class):
        return self.instantiate(content, Arguments(), site)
    if isinstance(content, Instance):
        return content
    items: dict[Scalar, Abstract] = dict(content.items) if isinstance(content, Map) else {}
    if content is not None and not isinstance(content, Map):
        return self.new_symbol("", site)
    items.update({key: argument.value for key, argument in arguments.keywords.items()})
    complete = arguments.complete and (not isinstance(content, Map) or content.complete)
    return namespace(self, items, site, complete)


def _grown(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    if not arguments.positional and not arguments.keywords:
        return self.new_symbol("", site)
    return _converted(self, arguments, site)


def _merged(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``OmegaConf.merge``: later settings go before earlier ones; what nobody knows of (the command
    line) may change any of them, as it may any default."""
    parts = [
        self.instantiate(value, Arguments(), site) if isinstance(value, Class) else value
        for value in arguments.values()
    ]
    known = [part for part in parts if isinstance(part, Instance) and _holds_settings(part)]
    if not known:
        return self.new_symbol("", site)
    result = namespace(self, {}, site, len(known) == len(parts))
    for part in known:
        _overlay(self, result, part, site)
    return result


def _holds_settings(value: Abstract) -> bool:
    return isinstance(value, Instance) and value.kind is ObjectKind.INSTANCE


def _overlay(self: Walk, target: Instance, source: Instance, site: Site) -> None:
    for key, value in source.attributes.items():
        below = target.attributes.get(key)
        if (
            isinstance(value, Instance)
            and isinstance(below, Instance)
            and _holds_settings(value)
            and _holds_settings(below)
        ):
            joined = namespace(self, dict(below.attributes), site, below.complete)
            _overlay(self, joined, value, site)
            target.attributes[key] = joined
        else:
            target.attributes[key] = value


def _started_run(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``wandb.init(config=...)``: the settings are read back as ``wandb.config`` or ``run.config``."""
    config = arguments.keywords.get("config")
    value = config.value if config is not None else UNKNOWN
    settings = _nested(self, value, site)
    if not _holds_settings(settings):
        return UNKNOWN
    self.settings["wandb.config"] = settings
    return namespace(self, {"config": settings}, site, complete=False)


NAMESPACE_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    **dict.fromkeys(_PLAIN, _plain),
    **dict.fromkeys(_CONVERTING, _converted),
    **dict.fromkeys(_GROWING, _grown),
    "omegaconf.OmegaConf.merge": _merged,
    "omegaconf.OmegaConf.unsafe_merge": _merged,
    "wandb.init": _started_run,
}


def keep_hyperparameters(
    self: Walk, module: Instance, arguments: Arguments, names: Mapping[str, Abstract], site: Site
) -> None:
    """``self.save_hyperparameters(...)`` of Lightning: arguments of ``__init__`` become
    ``self.hparams``; ``names`` are those of the function it is called in."""
    ignored = arguments.keywords.get("ignore")
    left_out = {
        item.value
        for item in _as_list(ignored.value if ignored is not None else UNKNOWN)
        if isinstance(item, Const)
    }
    chosen = [a.value for a in arguments.positional]
    kept: dict[Scalar, Abstract] = {}
    if not chosen:
        for name, value in names.items():
            if name in left_out or value is module or name.startswith("<"):
                continue
            kept[name] = value
            if name == "kwargs" and isinstance(value, Map):
                kept.update(value.items)
    for value in chosen:
        if isinstance(value, Const) and isinstance(value.value, str):
            kept[value.value] = names.get(value.value, UNKNOWN)
        elif isinstance(value, Map):
            kept.update(value.items)
        elif isinstance(value, Instance):
            kept.update(value.attributes)
    module.attributes["hparams"] = namespace(self, kept, site, complete=False)


def _as_list(value: Abstract) -> list[Abstract]:
    return value.items if isinstance(value, Seq) else [value]
