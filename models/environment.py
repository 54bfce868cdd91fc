"""Variables called UNEMBED_ something that are not settings: read elsewhere, set by Kubernetes, or misspelt."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final

log = logging.getLogger(__name__)

PREFIX: Final = "UNEMBED_"
FILE: Final = "_FILE"  # after a setting's name: the file that has its value (models/secret_files.py)

# Those that are read before there are settings, or without them.
ELSEWHERE: Final = {
    "UNEMBED_URL": "for clients: the address of the server",
    "UNEMBED_API_KEY": "for clients: the key to the server",
    "UNEMBED_API_KEY_FILE": "for clients: a file that holds that key, where UNEMBED_API_KEY is not set",
    "UNEMBED_WEBHOOK_SECRET": "for clients: what `submit --webhook` has the messages signed with",
    "UNEMBED_OPENAI_KEY": "the key to the server of `openai:` encoders; OPENAI_API_KEY is for OpenAI alone",
    "UNEMBED_HOME": "the folder in which `unembed up` keeps its data; without it, the platform's folder for such data",
    "UNEMBED_DEBUG": "1: an error that nobody foresaw is shown with its traceback",
}

_LINK_NAME: Final = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)
_warned: Final[set[str]] = set()


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set this, as it does in every pod for each service: UNEMBED_PORT=tcp://10.96.12.7:8765."""
    return bool(_LINK_NAME.search(name) or (name.endswith("_PORT") and _LINK_VALUE.match(value)))


def warn_of_unknown(fields: Iterable[str]) -> None:
    """A line in the log for each variable that looks like a setting and is none; once a process."""
    for name, warning in _unknown([PREFIX + field.upper() for field in fields]):
        if name not in _warned:
            _warned.add(name)
            log.warning(warning)


def _unknown(settings: list[str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(os.environ.items()):
        if not name.startswith(PREFIX):
            continue
        if is_service_link(name, value):
            if name in settings:
                yield name, f"{name} is {value!r}, which is Kubernetes's link to a service: the default is used instead"
        elif name.removesuffix(FILE) not in settings and name not in ELSEWHERE:
            known = [each.removeprefix(PREFIX) for each in (*settings, *ELSEWHERE)]
            near = get_close_matches(name.removeprefix(PREFIX), known, n=1)
            meant = f" Did you mean {PREFIX}{near[0]}?" if near else ""
            yield name, f"{name} is not a setting of unembed and is ignored.{meant}"
