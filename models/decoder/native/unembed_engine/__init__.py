"""The engine's libraries, one for each kind of CPU. `unembed.models.decoder.native_library` chooses and loads one."""
