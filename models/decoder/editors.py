"""Which editor proposes edits."""

from __future__ import annotations

from unembed.models.decoder.edits import Editor
from unembed.models.decoder.native_edits import NativeEditor
from unembed.models.decoder.native_library import NativeLibrary
from unembed.models.decoder.sketch import Sketch


def editor_for(sketch: Sketch, native: NativeLibrary | None) -> Editor:
    assert native
    return NativeEditor(native.library, sketch)
