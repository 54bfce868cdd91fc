"""Settings from files, and passwords that are no part of a URL: how containers are given their secrets.

`UNEMBED_API_KEYS_FILE=/run/secrets/api_keys` is UNEMBED_API_KEYS with what that file has, and so for every setting.
A secret that is in no variable is not shown by `docker inspect`, nor inherited by what a process starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from unembed.errors import SettingsError
from unembed.models.environment import FILE, PREFIX

_LARGEST: Final = 64 * 1024  # bytes; a larger file is not what was meant


def read_files(fields: Iterable[str]) -> dict[str, str]:
    """The settings whose values are in files, by field, without the white space around them.

    Raises SettingsError, naming the variable and the file, when one cannot be read or has no value, and when a variable
    has the value too.
    """
    found = {}
    for field in fields:
        name = PREFIX + field.upper()
        if (value := in_file(name)) is not None:
            found[field] = value
    return found


def in_file(variable: str) -> str | None:
    """The value of this variable from the file that `VARIABLE_FILE` names; None if that is not set.

    Raises SettingsError as `read_files` does.
    """
    name = variable + FILE
    path = os.environ.get(name)
    if not path:
        return None
    if os.environ.get(variable):
        raise SettingsError(f"{variable} and {name} are both set; expected one of them")
    return _content(name, Path(path))


def _content(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise SettingsError(f"{name} is {str(path)!r}, which cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise SettingsError(f"{name} is {str(path)!r}, which has more than {_LARGEST} bytes; expected a short text")
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{name} is {str(path)!r}, which is not UTF-8; expected a text") from None
    if not text:
        raise SettingsError(f"{name} is {str(path)!r}, which is empty; expected the value of {name.removesuffix(FILE)}")
    return text


def with_password(url: str, password: str) -> str:
    """`url` with this password, whatever its characters, if it names a server and has no password yet."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.startswith("sqlite"):
        return url
    who, at, host = rest.rpartition("@") if "@" in rest.partition("/")[0] else ("", "", rest)
    if ":" in who:
        return url
    if scheme.startswith("postgres") and not who:
        raise ValueError(
            "it names no user, to whom the password would belong; expected postgresql://USER@HOST/DATABASE"
        )
    return f"{scheme}://{who}:{quote(password, safe='')}{at or '@'}{host}"
