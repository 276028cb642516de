"""Sends the script's writes to a :class:`ShadowTree` by replacing Python's ways to the disk."""
# ruff: noqa: PTH100, PTH118, PTH120, PTH211 -- these are the os functions themselves

from __future__ import annotations

import builtins
import functools
import io
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from convlint.gpu_probes.attach.shadow_tree import ShadowTree

_NATIVE = frozenset({"_io", "builtins", "io", "nt", "os", "posix", "shutil"})
"""Modules that own the functions; what is replaced in them is replaced above."""

WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def path_text(value: object) -> str | None:
    """The path as text, or None for file descriptors and open files."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | os.PathLike):
        return os.fsdecode(value)
    return None


def hold_writes(tree: ShadowTree) -> None:
    """Replace the functions of ``builtins``, ``io``, ``os`` and ``shutil`` that reach files."""
    owners = (builtins, os, shutil)
    before = [dict(vars(owner)) for owner in owners]
    _replace_open(tree)
    _replace_reads(tree)
    _replace_directory_listing(tree)
    _replace_changes(tree)
    _replace_captured(
        {
            id(names[name]): value
            for owner, names in zip(owners, before, strict=True)
            for name, value in vars(owner).items()
            if name in names and value is not names[name]
        }
    )


def _replace_captured(replaced: dict[int, Any]) -> None:
    """Give modules that imported a function by name, before it was replaced, the new one."""
    for name, module in list(sys.modules.items()):
        if name in _NATIVE or name.partition(".")[0] == "convlint":
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in replaced:
                setattr(module, attribute, replaced[id(value)])


def _replace_open(tree: ShadowTree) -> None:
    original, original_descriptor = builtins.open, os.open

    @functools.wraps(original)
    def open_held(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        path = path_text(file)
        # An opener does its own opening, through ``os.open``.
        if path is not None and len(args) < 6 and kwargs.get("opener") is None:
            if any(letter in mode for letter in "wax+"):
                file = tree.writing(
                    path, keep="w" not in mode, exclusive="x" in mode, create="r" not in mode
                )
            else:
                file = tree.reading(path)
        return original(file, mode, *args, **kwargs)

    @functools.wraps(original_descriptor)
    def open_descriptor(
        path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        text = path_text(path)
        if text is not None and dir_fd is None:
            if flags & WRITING_FLAGS:
                path = tree.writing(
                    text,
                    keep=not flags & os.O_TRUNC,
                    exclusive=bool(flags & os.O_EXCL),
                    create=bool(flags & os.O_CREAT),
                )
            else:
                path = tree.reading(text)
        return original_descriptor(path, flags, mode, dir_fd=dir_fd)

    builtins.open = open_held
    io.open = open_held
    os.open = open_descriptor


def _replace_reads(tree: ShadowTree) -> None:
    for name in ("stat", "lstat", "access", "readlink", "chdir"):
        original = getattr(os, name)

        def read(
            path: Any, *args: Any, _original: Callable[..., Any] = original, **kwargs: Any
        ) -> Any:
            text = path_text(path)
            if text is not None and kwargs.get("dir_fd") is None:
                path = tree.reading(text)
            return _original(path, *args, **kwargs)

        setattr(os, name, functools.wraps(original)(read))


class _MergedScan:
    """What ``os.scandir`` gives, over the real directory and the script's own entries."""

    def __init__(self, entries: list[Any]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> _MergedScan:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""


def _replace_directory_listing(tree: ShadowTree) -> None:
    original_list, original_scan = os.listdir, os.scandir

    @functools.wraps(original_list)
    def listdir(path: Any = None) -> Any:
        text = "." if path is None else path_text(path)
        if text is None or not tree.touches(text):
            return original_list(path)
        names = tree.names(text)
        return [os.fsencode(name) for name in names] if isinstance(path, bytes) else names

    @functools.wraps(original_scan)
    def scandir(path: Any = None) -> Any:
        text = "." if path is None else path_text(path)
        if text is None or not tree.touches(text):
            return original_scan(path)
        visible = set(tree.names(text))
        entries: dict[str, Any] = {}
        for directory in tree.directories(text):
            with original_scan(directory) as scan:
                entries.update({e.name: e for e in scan if e.name in visible})
        return _MergedScan(list(entries.values()))

    os.listdir = listdir
    os.scandir = scandir


def _replace_changes(tree: ShadowTree) -> None:
    original_mkdir, original_rmtree = os.mkdir, shutil.rmtree

    def exempt(path: Any) -> bool:
        text = path_text(path)
        return text is None or tree.is_exempt(os.path.abspath(text))

    @functools.wraps(original_mkdir)
    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None or exempt(path):
            original_mkdir(path, mode, dir_fd=dir_fd)
        else:
            tree.make_directory(os.fsdecode(path))

    @functools.wraps(original_rmtree)
    def rmtree(path: Any, ignore_errors: bool = False, *args: Any, **kwargs: Any) -> None:
        if exempt(path):
            original_rmtree(path, ignore_errors, *args, **kwargs)
            return
        try:
            tree.remove(os.fsdecode(path))
        except FileNotFoundError:
            if not ignore_errors:
                raise

    os.mkdir = mkdir
    shutil.rmtree = rmtree  # type: ignore[assignment]

    for name in ("unlink", "remove", "rmdir"):
        original = getattr(os, name)

        def remove(
            path: Any, *, dir_fd: int | None = None, _original: Callable[..., Any] = original
        ) -> None:
            if dir_fd is not None or exempt(path):
                _original(path, dir_fd=dir_fd)
            else:
                tree.remove(os.fsdecode(path))

        setattr(os, name, functools.wraps(original)(remove))

    for name in ("rename", "replace"):
        original = getattr(os, name)

        def rename(
            src: Any, dst: Any, *, _original: Callable[..., Any] = original, **kwargs: Any
        ) -> None:
            if exempt(src) and exempt(dst):
                _original(src, dst, **kwargs)
            else:
                tree.move(os.fsdecode(src), os.fsdecode(dst))

        setattr(os, name, functools.wraps(original)(rename))

    for name in ("chmod", "utime", "truncate", "chown"):
        if not hasattr(os, name):
            continue
        original = getattr(os, name)

        def change(
            path: Any, *args: Any, _original: Callable[..., Any] = original, **kwargs: Any
        ) -> None:
            if kwargs.get("dir_fd") is not None or exempt(path):
                _original(path, *args, **kwargs)
            else:
                _original(tree.writing(os.fsdecode(path), keep=True, create=False), *args, **kwargs)

        setattr(os, name, functools.wraps(original)(change))

    for name in ("symlink", "link"):
        original = getattr(os, name)

        def link(
            src: Any, dst: Any, *args: Any, _original: Callable[..., Any] = original, **kwargs: Any
        ) -> None:
            if exempt(dst):
                _original(src, dst, *args, **kwargs)
                return
            base = os.path.dirname(os.path.abspath(os.fsdecode(dst)))
            source = os.path.join(base, os.fsdecode(src))
            target = tree.writing(os.fsdecode(dst), keep=False, exclusive=True)
            os.symlink(tree.reading(source), target)

        setattr(os, name, functools.wraps(original)(link))
