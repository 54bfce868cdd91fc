"""Which editor proposes edits: the one in C++ where it can be loaded, otherwise the one in NumPy, its reference."""

from __future__ import annotations

from unembed.models.decoder.edits import Editor
from unembed.models.decoder.native_edits import NativeEditor
from unembed.models.decoder.native_library import find_native
from unembed.models.decoder.plain_edits import PlainEditor
from unembed.models.decoder.sketch import Sketch
from unembed.schemas import EngineChoice


def editor_for(sketch: Sketch, choice: EngineChoice = "auto") -> Editor:
    """The fastest there is. Raises InputError when "native" was asked for and is missing."""
    native = None if choice == "torch" else find_native(choice)[0]
    return PlainEditor(sketch) if native is None else NativeEditor(native.library, sketch)
