"""Forms with files, read with what Python has: FastAPI's way needs a package, for this one request."""

from __future__ import annotations

from dataclasses import dataclass
from email import policy
from email.parser import BytesParser

from unembed.errors import InputError


@dataclass(frozen=True)
class FormField:
    """A field, and the name of the file that it is."""

    content: bytes
    filename: str | None = None


def read_form(content_type: str, body: bytes) -> dict[str, FormField]:
    """The fields by name, the first of each. Raises InputError for what is no such form."""
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    if message.get_content_type() != "multipart/form-data" or not message.is_multipart():
        raise InputError("the body is no form; expected multipart/form-data with `file` and `purpose`")
    fields: dict[str, FormField] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields.setdefault(name, FormField(content, part.get_filename()))
    return fields
