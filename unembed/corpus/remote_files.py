"""Files at a URL, through fsspec: s3://, gs://, https://, hf://datasets/... They are fetched once, into a spool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from unembed.corpus.files import choose, is_pattern, natural
from unembed.corpus.names import shown
from unembed.corpus.spool import Progress, Spool, spooled
from unembed.errors import CorpusError, MissingExtraError, StorageUnavailableError, UnembedError

_PACKAGES: Final = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "https": "aiohttp",
    "http": "aiohttp",
    "hf": "huggingface_hub",
}


def urls_of(url: str, passed_over: list[str]) -> list[str]:
    """The files at a URL: itself, those in the folder that it is, or those that match its pattern.

    Names that are no files of vectors go to `passed_over`. Raises CorpusError, MissingExtraError and
    StorageUnavailableError.
    """
    with reaching_url(url):
        filesystem, path = _filesystem(url)
        if _scheme(url) in ("http", "https"):
            return [url]  # a `?` begins a query there, and there are no folders
        if is_pattern(path) and not filesystem.exists(path):
            found = [str(each) for each in filesystem.glob(path) if not filesystem.isdir(each)]
            if not found:
                raise CorpusError(f"no file matches {masked(url)!r}")
            return [filesystem.unstrip_protocol(each) for each in natural(found)]
        if not filesystem.isdir(path):
            return [url]
        below = [str(each) for each in filesystem.find(path)]
        root = path.rstrip("/") + "/"
        names = [each.removeprefix(root) for each in below]
        visible = [name for name in names if not any(part.startswith((".", "_")) for part in name.split("/")[:-1])]
        return [filesystem.unstrip_protocol(root + name) for name in choose(visible, masked(url), passed_over)]


def fetched(url: str, progress: Progress) -> Spool:
    """What is at the URL, in a temporary file. Raises as `urls_of`."""
    with reaching_url(url):
        filesystem, path = _filesystem(url)
        with filesystem.open(path, "rb") as file:
            size = getattr(file, "size", None)
            return spooled(masked(url), file, progress, size if isinstance(size, int) else None)


def masked(url: str) -> str:
    """The URL without credentials and without its query, which may hold a signature."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return shown(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")


@contextmanager
def reaching_url(url: str) -> Iterator[None]:
    """What the libraries raise over a URL becomes an error that names it."""
    what = masked(url)
    try:
        yield
    except UnembedError:
        raise
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError):  # of the network; fsspec takes it for a file that is missing
            raise StorageUnavailableError(f"{what} cannot be reached: {_line(error.__cause__)}") from error
        raise CorpusError(f"{what} does not exist, or these credentials may not see it") from error
    except ImportError as error:
        package = _PACKAGES.get(_scheme(url), "fsspec")
        raise MissingExtraError(
            f"{what} needs the package {package!r}, which is not installed: pip install 'unembed[remote]'"
        ) from error
    except PermissionError as error:
        raise CorpusError(f"{what} may not be read with these credentials") from error
    except ValueError as error:
        raise CorpusError(f"{what} cannot be read: {_line(error)}") from error
    except Exception as error:  # each storage has errors of its own
        raise StorageUnavailableError(f"{what} cannot be reached: {_line(error)}") from error


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(url)
    return filesystem, path


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
