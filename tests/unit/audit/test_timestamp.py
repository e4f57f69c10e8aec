"""Seals with time stamps, by an authority that OpenSSL plays on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from unit.archive.archives import runs, write
from unit.audit.sealed import problems, sealed

from trackbridge.audit.check import check
from trackbridge.audit.keys import Key
from trackbridge.audit.seal import seal
from trackbridge.errors import ConfigError, TransientError

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")

CONFIG = """
[tsa]
default_tsa = own
[own]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha512
[extended]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[req]
distinguished_name = name
[name]
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def root(folder: Path, name: str) -> None:
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-config", "config", "-extensions", "root"]
    made = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    openssl(folder, "req", *kind, *made)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, and two roots, one of which vouches for it."""
    folder = tmp_path_factory.mktemp("authority")
    (folder / "config").write_text(CONFIG)
    (folder / "serial").write_text("01\n")
    root(folder, "root")
    root(folder, "stranger")
    request = ["-newkey", "rsa:2048", "-nodes", "-config", "config", "-subj", "/CN=tsa"]
    openssl(folder, "req", *request, "-keyout", "tsa.key", "-out", "tsa.csr")
    by = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"]
    extended = ["-extfile", "config", "-extensions", "extended"]
    openssl(folder, "x509", "-req", "-in", "tsa.csr", *by, *extended, "-out", "tsa.pem")
    return folder


class Authority(BaseHTTPRequestHandler):
    """Answers as RFC 3161 says, or as `say` does."""

    folder: Path
    say: bytes | int = b""

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers["Content-Length"]))
        if isinstance(self.say, int):
            self.send_error(self.say)
            return
        answer = self.say
        if not answer:
            (self.folder / "query").write_bytes(query)
            reply = ["ts", "-reply", "-config", "config", "-section", "own"]
            openssl(self.folder, *reply, "-queryfile", "query", "-out", "answer")
            answer = (self.folder / "answer").read_bytes()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def served(authority: Path) -> Iterator[tuple[str, type[Authority]]]:
    """Its URL, and what can be told to answer otherwise."""
    handler = type("Own", (Authority,), {"folder": authority})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path / "archive", runs("ab"))
    return tmp_path / "archive"


def test_a_stamp_is_believed_where_a_root_vouches_for_it(
    place: Path, key: Key, served: tuple[str, type[Authority]], authority: Path
) -> None:
    seal(f"archive:{place}", key, served[0])
    write(place, runs("c"))
    sealed(place, key)
    write(place, runs("d"))
    seal(f"archive:{place}", key, served[0])
    assert problems(place) == {}
    found = check(f"archive:{place}", tsa_roots=[authority / "root.pem"])
    assert found.report.problems == []
    assert [(stamp.generation, stamp.trusted) for stamp in found.stamps] == [(1, True), (3, True)]
    data = ["-data", str(place / "tagmanifest-sha256.txt")]
    token = ["-in", str(place / "seals" / "0003" / "timestamp.tsr")]
    openssl(authority, "ts", "-verify", *token, *data, "-CAfile", "root.pem")
    other = check(f"archive:{place}", tsa_roots=[authority / "stranger.pem"])
    paths = [problem.path for problem in other.report.problems]
    assert paths == ["seals/0001/timestamp.tsr", "seals/0003/timestamp.tsr"]


def test_a_stamp_is_good_though_a_later_seal_is_broken(
    place: Path, key: Key, served: tuple[str, type[Authority]]
) -> None:
    seal(f"archive:{place}", key, served[0])
    write(place, runs("c"))
    sealed(place, key)
    path = place / "seals" / "0002" / "seal.json"
    path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "A'))
    found = check(f"archive:{place}")
    assert [problem.path for problem in found.report.problems] == ["seals/0002/seal.json"]
    assert [stamp.generation for stamp in found.stamps] == [1]


def test_a_stamp_of_a_list_that_is_gone_is_named(
    place: Path, key: Key, served: tuple[str, type[Authority]]
) -> None:
    seal(f"archive:{place}", key, served[0])
    (place / "tagmanifest-sha256.txt").unlink()
    found = problems(place)
    assert found["tagmanifest-sha256.txt"].startswith("is missing")
    assert "is no time stamp of the seal: " in found["seals/0001/timestamp.tsr"]


def test_a_stamp_that_was_harmed_is_named(
    place: Path, key: Key, served: tuple[str, type[Authority]]
) -> None:
    seal(f"archive:{place}", key, served[0])
    path = place / "seals" / "0001" / "timestamp.tsr"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is not the time stamp" in problems(place)["seals/0001/timestamp.tsr"]
    path.unlink()
    assert "is not the time stamp" in problems(place)["seals/0001/timestamp.tsr"]


@pytest.mark.parametrize(
    ("say", "kind", "said"),
    [
        (503, TransientError, "refused with HTTP 503"),
        (403, ConfigError, "refused with HTTP 403"),
        (b"<html>", ConfigError, "its answer is no time stamp"),
    ],
)
def test_an_authority_that_fails_leaves_the_archive_unsealed_and_the_next_call_seals(
    place: Path,
    key: Key,
    served: tuple[str, type[Authority]],
    say: bytes | int,
    kind: type[Exception],
    said: str,
) -> None:
    url, handler = served
    handler.say = say
    with pytest.raises(kind, match=said):
        seal(f"archive:{place}", key, url)
    assert "sealing was interrupted" in problems(place)[""]
    assert sealed(place, key).new
    assert problems(place) == {}


def test_an_answer_to_another_request_is_no_stamp(
    place: Path, key: Key, served: tuple[str, type[Authority]], authority: Path, tmp_path: Path
) -> None:
    url, handler = served
    write(tmp_path / "other", runs("x"))
    seal(f"archive:{tmp_path}/other", key, url)
    handler.say = (tmp_path / "other" / "seals" / "0001" / "timestamp.tsr").read_bytes()
    with pytest.raises(ConfigError, match="answers another request"):
        seal(f"archive:{place}", key, url)


def test_an_authority_that_is_not_there_is_named(place: Path, key: Key) -> None:
    with pytest.raises(TransientError, match=r"127.0.0.1:9/: no time stamp: .*refused"):
        seal(f"archive:{place}", key, "http://127.0.0.1:9/")
    with pytest.raises(ConfigError, match="nonsense"):
        seal(f"archive:{place}", key, "nonsense")
