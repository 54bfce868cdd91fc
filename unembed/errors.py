"""Every error that a user of Unembed can meet.

    UnembedError
    ├── InputError              what was handed in is not usable                     400
    │   ├── CorpusError         a file of embeddings cannot be read                  400
    │   ├── SettingsError       a setting in the environment is not usable           400
    │   ├── DimensionError      an embedding has the wrong number of dimensions      422
    │   ├── UnknownDecoderError no decoder has this name                             422
    │   ├── EmbedderError       the vectors are another embedder's                   422
    │   ├── RootsError          a URI is not under an allowed root                   422
    │   └── UnknownArchitectureError                                                 422
    ├── BudgetError             a network larger than the parameters allowed         422
    ├── CheckpointError         a checkpoint is damaged or of another kind           500
    ├── NotFoundError           no job or batch has this id                          404
    ├── ConflictError           the job's state forbids it                           409
    ├── IdempotencyError        the same key with another corpus                     422
    ├── TooLargeError           a batch over the size limit                          413
    ├── BusyError               the queue is full; try again later                   429
    ├── AuthError               a key is missing or wrong                            401
    ├── ForbiddenError          the key's role does not allow it                     403
    ├── UnavailableError        a part that is needed is down                        503
    │   ├── QueueUnavailableError     Redis                                          503
    │   ├── StoreUnavailableError     the database                                   503
    │   └── StorageUnavailableError   where a referenced file is                     503
    ├── OutputError             results cannot be written where they should go      500
    ├── CannotWorkError         what was started here can never do its work          500
    ├── MissingExtraError       an optional dependency is not installed              501
    ├── JobFailedError          a job ended, and not well                             -
    └── WaitTimeoutError        a job has not ended in the time that was given; a TimeoutError, too   -

Whatever a public function of the client raises is one of these, but for what its caller's own code raises within it: an
iterator that is sent, a callback, Ctrl-C.

`code` travels: the API puts it in the problem document and the client raises the class that the server raised.
`exit_code` is what a program ends with: 1, or 2 for bad input and settings, 4 for a key, 5 for what
may work later: a part is down, or the queue is full.
"""

from __future__ import annotations

from typing import ClassVar


class UnembedError(Exception):
    """Something went wrong in Unembed."""

    code: ClassVar[str] = "unembed"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


class InputError(UnembedError):
    """The input is not usable."""

    code = "input"
    status = 400
    exit_code = 2


class CorpusError(InputError):
    """A file of embeddings cannot be read."""

    code = "corpus"


class SettingsError(InputError):
    """A setting in the environment is not usable."""

    code = "settings"


class DimensionError(InputError):
    """An embedding has the wrong number of dimensions."""

    code = "dimension"
    status = 422

    @classmethod
    def between(cls, got: int, expected: int, of: str, advice: str = "") -> DimensionError:
        said = f"the embeddings have {got} dimensions, but {of} expects {expected}"
        return cls(f"{said}; {advice}" if advice else said)


class UnknownDecoderError(InputError):
    """No decoder has this name."""

    code = "unknown_decoder"
    status = 422


class RootsError(InputError):
    """A URI is not under an allowed root."""

    code = "roots"
    status = 422


class EmbedderError(InputError):
    """The vectors are those of another embedder than the decoder reads."""

    code = "embedder"
    status = 422


class UnknownArchitectureError(InputError):
    """No architecture has this name."""

    code = "unknown_architecture"
    status = 422


class BudgetError(UnembedError):
    """The network has more parameters than allowed."""

    code = "budget"
    status = 422


class CheckpointError(UnembedError):
    """The checkpoint is damaged or of another kind."""

    code = "checkpoint"


class NotFoundError(UnembedError):
    """No job or batch has this id."""

    code = "not_found"
    status = 404

    @classmethod
    def of_job(cls, job_id: str) -> NotFoundError:
        return cls(f"no job has the id {job_id!r}")


class ConflictError(UnembedError):
    """The state of the job forbids it."""

    code = "conflict"
    status = 409


class IdempotencyError(UnembedError):
    """The idempotency key was used before, for something else."""

    code = "idempotency"
    status = 422


class TooLargeError(UnembedError):
    """The batch is over the size limit."""

    code = "too_large"
    status = 413


class BusyError(UnembedError):
    """The queue is full; try again later."""

    code = "busy"
    status = 429
    exit_code = 5
    retry_after: int = 5  # seconds


class AuthError(UnembedError):
    """An API key is missing or wrong."""

    code = "auth"
    status = 401
    exit_code = 4


class ForbiddenError(UnembedError):
    """The role of the API key does not allow it."""

    code = "forbidden"
    status = 403
    exit_code = 4


class UnavailableError(UnembedError):
    """A part of the server is down."""

    code = "unavailable"
    status = 503
    exit_code = 5


class QueueUnavailableError(UnavailableError):
    """Redis cannot be reached."""

    code = "queue_unavailable"


class StoreUnavailableError(UnavailableError):
    """The database cannot be reached."""

    code = "store_unavailable"


class StorageUnavailableError(UnavailableError):
    """The storage of a referenced file cannot be reached."""

    code = "storage_unavailable"


class OutputError(UnembedError):
    """Results cannot be written where they should go."""

    code = "output"
    errno: int | None = None  # of the system, which refused

    @classmethod
    def of(cls, message: str, number: int | None) -> OutputError:
        error = cls(message)
        error.errno = number
        return error


class CannotWorkError(UnembedError):
    """What was started on this machine can never do its work: its workers, or the disk of its home folder."""

    code = "cannot_work"


class MissingExtraError(UnembedError):
    """An optional dependency is not installed."""

    code = "missing_extra"
    status = 501

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        return cls(f"this needs the package {package!r}, which is not installed: pip install 'unembed[{extra}]'")


class JobFailedError(UnembedError):
    """The job did not succeed."""

    code = "job_failed"


class WaitTimeoutError(UnembedError, TimeoutError):
    """The job has not ended in the time that was given; it goes on."""

    code = "wait_timeout"
    exit_code = 5


def by_code() -> dict[str, type[UnembedError]]:
    """Every error class under its code, so that a client can raise what the server raised."""
    found: dict[str, type[UnembedError]] = {}
    waiting: list[type[UnembedError]] = [UnembedError]
    while waiting:
        cls = waiting.pop()
        found[cls.code] = cls
        waiting.extend(cls.__subclasses__())
    return found


def first_line(error: BaseException) -> str:
    """What a library's error says in one line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
