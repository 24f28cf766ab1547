"""The Java that Spark would run on, found without starting it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from recsys.errors import ConfigError

#: Spark 4 runs on it and on later ones.
OLDEST_JAVA = 17


class Java(NamedTuple):
    """A Java of this machine.

    Attributes
    ----------
    program : pathlib.Path
    major : int or None
        Its version, where its folder tells it.

    """

    program: Path
    major: int | None


def find_java() -> Java | None:
    """Find the Java of JAVA_HOME, else of PATH.

    Returns
    -------
    Java or None

    """
    home = os.environ.get("JAVA_HOME")
    folders = [f"{home}/bin"] if home else os.environ.get("PATH", "").split(os.pathsep)
    java = next(
        (found for found in (Path(folder) / "java" for folder in folders) if _is_program(found)), None
    )
    return None if java is None else Java(java, _major_version(java.resolve().parents[1] / "release"))


def check_java() -> None:
    """Say in one line what to install where Spark would not start.

    Raises
    ------
    ConfigError

    """
    found, way_out = find_java(), f"install Java {OLDEST_JAVA} or later, or set JAVA_HOME to one"
    if found is None:
        raise ConfigError(f'model.engine = "spark" needs Java, and {why_no_java()}: {way_out}')
    java, major = found
    if major is not None and major < OLDEST_JAVA:
        raise ConfigError(
            f'model.engine = "spark" needs a newer Java than {java}, which is {major}: {way_out}'
        )


def why_no_java() -> str:
    """Say where there is none, after `find_java` found none: who sets JAVA_HOME is taken at their word."""
    home = os.environ.get("JAVA_HOME")
    return f"JAVA_HOME is {home!r}, where there is no program bin/java" if home else "there is none"


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _major_version(release: Path) -> int | None:
    """Read it from what every Java of today carries beside its programs."""
    try:
        told = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(told.group(1)) if told else None
