"""Which URIs a server reads, and which it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from unembed.errors import RootsError
from unembed.roots import Roots, as_root, parse, shown


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "corpora" / "year").mkdir(parents=True)
    (tmp_path / "corpora" / "a.parquet").touch()
    (tmp_path / "secret.parquet").touch()
    return tmp_path / "corpora"


def test_a_file_under_a_root_is_allowed_whether_it_exists_or_not(root: Path) -> None:
    roots = Roots.of([str(root)])
    assert roots.require(f"file://{root}/a.parquet").path == f"{root}/a.parquet"
    assert roots.require(f"file://{root}/year/b.parquet").path == f"{root}/year/b.parquet"


def test_without_a_root_nothing_is_allowed(root: Path) -> None:
    with pytest.raises(RootsError, match=r"a\.parquet' cannot be used: UNEMBED_CORPUS_ROOTS names no root"):
        Roots().require(f"file://{root}/a.parquet")


@pytest.mark.parametrize("name", ["secret.parquet", "corpora-of-others/a.parquet", "corpora"])
def test_what_is_beside_a_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(RootsError, match="not under an allowed root; UNEMBED_CORPUS_ROOTS allows file://"):
        Roots.of([str(root)]).require(f"file://{root.parent}/{name}")


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_followed(root: Path) -> None:
    # Given links of a file and of a folder that lead out, and one that stays within
    (root / "out.parquet").symlink_to(root.parent / "secret.parquet")
    (root / "up").symlink_to(root.parent)
    (root / "in.parquet").symlink_to(root / "a.parquet")
    roots = Roots.of([str(root)])
    # When they are asked for, Then those that lead out are refused, and where they lead is not told
    for name in ("out.parquet", "up/secret.parquet"):
        with pytest.raises(RootsError, match="not under an allowed root") as refused:
            roots.require(f"file://{root}/{name}")
        assert str(root.parent / "secret.parquet") not in refused.value.message
    assert roots.require(f"file://{root}/in.parquet").path == f"{root}/a.parquet"


def test_a_root_may_be_a_link_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert Roots.of([str(tmp_path / "link")]).require(f"file://{root}/a.parquet").path == f"{root}/a.parquet"
    assert Roots.of([str(root)]).require(f"file://{tmp_path}/link/a.parquet").path == f"{root}/a.parquet"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("/data/a.parquet", "is no URI"),
        ("a.parquet", "is no URI"),
        ("", "is no URI"),
        ("file:/data/a.parquet", "is no URI"),
        ("http://host/a.parquet", "has the scheme 'http'"),
        ("ftp://host/a.parquet", "has the scheme 'ftp'"),
        ("memory://host/a.parquet", "has the scheme 'memory'"),
        ("s3+file://host/a.parquet", "has the scheme 's3+file'"),
        ("file://host/data/a.parquet", "has a host"),
        ("s3:///a.parquet", "has no host"),
        ("file:///data/../etc/passwd", "has '.', '..'"),
        ("file:///data/./a.parquet", "has '.', '..'"),
        ("file:///data//a.parquet", "has '.', '..'"),
        ("s3://bucket/../other/a.parquet", "has '.', '..'"),
        ("file:///data/%2e%2e/a.parquet", "has the character '%'"),
        ("file:///data/a.parquet?x=1", "has the character '?'"),
        ("file:///data/a.parquet#x", "has the character '#'"),
        ("file:///data\\a.parquet", "has the character '\\\\'"),
        ("file:///data/a\n.parquet", "has the character '\\n'"),
        ("file:///data/a\x00.parquet", "has the character '\\x00'"),
        ("https://user:hunter2@host/a.parquet", "has credentials"),
        ("s3://key:hunter2@bucket/a.parquet", "has credentials"),
    ],
)
def test_what_is_no_plain_uri_is_refused_in_one_line(uri: str, says: str) -> None:
    with pytest.raises(RootsError) as refused:
        parse(uri)
    assert says in refused.value.message
    assert "expected" in refused.value.message or "give them to the workers" in refused.value.message
    assert "\n" not in refused.value.message
    assert "hunter2" not in refused.value.message


def test_a_message_has_neither_passwords_nor_signatures() -> None:
    assert shown("https://u:hunter2@host/a?X-Amz-Signature=hunter2") == "'https://***@host/a?***'"
    assert len(shown("s3://b/" + "a" * 5000)) < 400


@pytest.mark.parametrize(
    ("root", "inside", "outside"),
    [
        ("s3://bucket/corpora", "s3://bucket/corpora/a.npy", "s3://bucket/corpora2/a.npy"),
        ("s3://bucket", "s3://bucket/a.npy", "s3://bucket2/a.npy"),
        ("gs://bucket/", "gs://bucket/a.npy", "s3://bucket/a.npy"),
        ("https://data.example.org/c", "https://DATA.example.org/c/a.npy", "https://data.example.org.evil.net/c/a.npy"),
        ("https://data.example.org", "https://data.example.org/a.npy", "https://data.example.org:8080/a.npy"),
    ],
)
def test_buckets_and_sites_are_roots_too(root: str, inside: str, outside: str) -> None:
    roots = Roots.of([root])
    assert str(roots.require(inside)) == inside.replace("DATA", "data")
    with pytest.raises(RootsError, match="not under an allowed root"):
        roots.require(outside)


@pytest.mark.parametrize("root", ["/", "file:///", "data", "../data", "ftp://host", "https://user:pw@host", "s3://"])
def test_what_is_no_root_is_refused(root: str) -> None:
    with pytest.raises(RootsError):
        as_root(root)
