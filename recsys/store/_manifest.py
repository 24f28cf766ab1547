"""Manifests: what a folder must hold, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.store._files import input_errors, sha256_of, to_json

MANIFEST = "manifest.json"
UNFINISHED = "unfinished"
_SEAL = "manifest_sha256"
_LARGEST_MANIFEST = 64 * 2**20


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the manifest of a run or of a model.

    Parameters
    ----------
    folder : path-like
        The folder that holds a `manifest.json`.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        When it is missing, is not a JSON object, or is larger than any manifest.
    """
    path = Path(folder) / MANIFEST
    return _parse(path, _read(path))


def _read(path: Path) -> bytes:
    with input_errors(path):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} must be a regular file, not a link or a device")
        if found.st_size > _LARGEST_MANIFEST:
            raise InputError(f"{path} must be smaller than 64 MiB, has {found.st_size} bytes")
        return path.read_bytes()


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged, it is not JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise InputError(f"{path} is damaged, it must be a JSON object, is a {type(manifest).__name__}")
    return manifest


def seal_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Write a run's manifest with a hash of the rest of it at its end, so that no bit of it can change unseen."""
    return to_json({**manifest, _SEAL: hashlib.sha256(to_json(dict(manifest))).hexdigest()})


def check_seal(folder: Path) -> dict[str, Any]:
    """Read a run's manifest, refused unless it is byte for byte what `seal_manifest` wrote."""
    path = folder / MANIFEST
    content = _read(path)
    manifest = _parse(path, content)
    try:
        sealed = seal_manifest({name: one for name, one in manifest.items() if name != _SEAL})
    except ValueError:  # a NaN, which no manifest of ours holds
        raise damaged(path) from None
    if content != sealed:
        raise damaged(path)
    return manifest


def model_version(files: Mapping[str, bytes]) -> str:
    """Name a model by its bytes: no clock, path or thread count.

    Parameters
    ----------
    files : mapping of file name to content

    Returns
    -------
    str
        The first 16 hexadecimal digits of the SHA-256 over the lines ``<sha256>  <name>``, sorted by name.

    Examples
    --------
    >>> model_version({"b": b"2", "a": b"1"}) == model_version({"a": b"1", "b": b"2"})
    True
    >>> model_version({"a": b"1"})
    'fc5b2781bc65746b'
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return _version_of(hashes)


def model_manifest(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Describe a model's files: what `read_model_files` will insist on.

    Parameters
    ----------
    files : mapping of file name to content

    Returns
    -------
    dict
        ``{"model_version": ..., "files": {name: {"sha256": ..., "bytes": ...}}}``
    """
    entries = {
        name: {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        for name in sorted(files)
    }
    return {
        "model_version": _version_of({name: entries[name]["sha256"] for name in entries}),
        "files": entries,
    }


def _version_of(hashes: Mapping[str, Any]) -> str:
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def files_in(folder: Path) -> dict[str, Path]:
    """List whatever is below a folder and is not itself a folder; links are listed, never followed."""
    found = sorted(path for path in folder.rglob("*") if not stat.S_ISDIR(path.lstat().st_mode))
    return {path.relative_to(folder).as_posix(): path for path in found}


def describe_file(path: Path) -> dict[str, Any]:
    """Say what a manifest keeps of a file."""
    return {"sha256": sha256_of(path), "bytes": path.stat().st_size}


def verify_files(folder: str | os.PathLike[str], names: Iterable[str] | None = None) -> int:
    """Check the files of a run or of a model against its manifest.

    Parameters
    ----------
    folder : path-like
        A run's folder, or a model's.
    names : iterable of str, optional
        Only these. Without it, all of them; and a file that the manifest does not list is refused.

    Returns
    -------
    int
        How many files were checked.

    Raises
    ------
    InputError
        Naming the first file that is missing, changed, foreign, or not a regular file.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    entries = listed_files(folder, manifest) if names is None else _chosen_files(folder, manifest, names)
    for name, entry in entries.items():
        _check_file(folder / name, entry)
    return len(entries)


def listed_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's entries, once the folder holds exactly these files."""
    for error in _misplaced_files(folder, manifest):
        raise error
    return _entries(folder, manifest)


def find_damage(folder: Path, manifest: Mapping[str, Any]) -> Iterator[InputError]:
    """Find everything that `verify_files` would stop at."""
    yield from _misplaced_files(folder, manifest)
    for name, entry in _entries(folder, manifest).items():
        if os.path.lexists(folder / name):
            try:
                _check_file(folder / name, entry)
            except InputError as error:
                yield error


def _misplaced_files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[InputError]:
    entries = _entries(folder, manifest)
    own = {MANIFEST, UNFINISHED} if "run_id" in manifest else {MANIFEST}
    with input_errors(folder):
        present = files_in(folder).keys()
    for name in sorted(present - entries.keys() - own):
        yield InputError(
            f"{folder / name} is not in the manifest beside it: remove what recsys did not write"
        )
    for name in sorted(entries.keys() - present):
        yield InputError(f"{folder / name} is missing, and {folder / MANIFEST} lists it: publish again")


def _check_file(path: Path, entry: Mapping[str, Any]) -> None:
    check_size(path, entry)
    if sha256_of(path) != entry.get("sha256"):
        raise damaged(path)


def _chosen_files(folder: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    entries = _entries(folder, manifest)
    chosen = list(names)
    for name in chosen:
        if name not in entries:
            raise InputError(f"{folder / MANIFEST} lists no file {name!r}")
    return {name: entries[name] for name in chosen}


def _entries(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    entries = manifest.get("files")
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError(f"{folder / MANIFEST} is damaged, it lists no files")
    return entries


def check_size(path: Path, entry: Mapping[str, Any]) -> None:
    """Refuse a link, a device, or another size, before a byte is read."""
    with input_errors(path):
        found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} must be a regular file, not a link or a device")
    if found.st_size != entry.get("bytes"):
        raise damaged(path)


def damaged(path: Path) -> InputError:
    """Say that a file is not the one its manifest lists."""
    return InputError(f"{path} is damaged, its bytes are not those that were published: publish again")
