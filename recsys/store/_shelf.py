"""Finished parts of a long computation, kept until it is published."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.store._files import output_errors, write_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUFFIX = ".safetensors"
_DIGITS = 16


@dataclass(frozen=True)
class FileShelf:
    """Arrays by name in a folder, one file a name; the file's own name ends in a hash of its content.

    Attributes
    ----------
    folder : pathlib.Path

    """

    folder: Path

    def load(self, name: str) -> dict[str, NDArray[np.float64]] | None:
        """Read what was saved under a name.

        Parameters
        ----------
        name : str

        Returns
        -------
        dict of str to ndarray, or None
            None where nothing was saved, or the file has changed since.

        """
        from safetensors.numpy import load

        for path in sorted(self.folder.glob(f"{name}.*{_SUFFIX}")):
            content = path.read_bytes()
            if path.name == _file_name(name, content):
                return dict(load(content))
        return None

    def save(self, name: str, arrays: Mapping[str, NDArray[np.float64]]) -> None:
        """Write arrays under a name, atomically.

        Parameters
        ----------
        name : str
        arrays : mapping of str to ndarray

        Raises
        ------
        OutputError
            When they cannot be written.

        """
        import numpy as np
        from safetensors.numpy import save

        content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.folder / _file_name(name, content), content)

    def clear(self) -> None:
        """Delete all that was saved."""
        with output_errors(self.folder):
            if self.folder.exists():
                shutil.rmtree(self.folder)


def _file_name(name: str, content: bytes) -> str:
    return f"{name}.{hashlib.sha256(content).hexdigest()[:_DIGITS]}{_SUFFIX}"
