"""Rows that are read once, into a temporary file of Arrow batches, and from there as often as needed."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import pyarrow as pa

from unembed.corpus.arrow_files import arrow_table
from unembed.corpus.spool import Progress, Spool, held, spool_folder
from unembed.corpus.table import Table
from unembed.errors import CorpusError


def kept(what: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], progress: Progress) -> Table:
    """The rows as they were when they were read. Raises CorpusError when the disk is full, and what reading raises.

    The memory is that of a batch; the file goes when nothing uses the table any more.
    """
    spool = Spool()
    try:
        with pa.OSFile(str(spool.path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                progress(what, sink.tell(), None)
    except OSError as error:
        spool.remove()
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CorpusError(
            f"{what} is kept in a temporary file, and {spool_folder()} is full: set TMPDIR to a folder with more room"
        ) from error
    except BaseException:
        spool.remove()
        raise
    table = arrow_table(spool.path, what)
    return Table(what, table.schema, table.rows, held(spool, table.batches), held(spool, table.digest))
