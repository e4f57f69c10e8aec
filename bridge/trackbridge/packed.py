"""A folder that lies in one zip or tar file, read as it is: nothing is unpacked.

Such a file may come from anyone. Names that lead out of it, links, devices and names that are
there twice are refused before anything is read, and so is a file that would unpack to many times
its size.
"""

from __future__ import annotations

import errno
import io
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

from trackbridge.audit.verify import Found, is_hostile
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.folder import storage_errors
from trackbridge.guarded import GuardedFile

if TYPE_CHECKING:
    from typing_extensions import Buffer

SUFFIXES = (".zip", ".tar")
COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Whose files cannot be read without reading all before them."""
MOST = 200
"""How many times its size a file may unpack to, from `SMALL` on: tables are compressed already."""
SMALL = 1 << 30
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,  # encrypted, or (NotImplementedError) compressed in a way that Python has not
)
"""What the standard library raises for damaged files, besides `OSError`."""


def is_packed(path: Path) -> bool:
    """Whether the path means a file of this kind; `ConfigError` for one that has to be unpacked."""
    name = path.name.lower()
    if name.endswith(COMPRESSED) and path.is_file():
        raise ConfigError(f"{path}: compressed as a whole; unpack it, or pack it as .zip or .tar")
    return name.endswith(SUFFIXES) and path.is_file()


class PackedFolder:
    """The files in a zip or tar file, for reading; below the one folder that holds them, if any."""

    parallel = True

    def __init__(self, path: Path, marker: str) -> None:
        """`marker` is the name of a file at the root of what is looked for."""
        self.address = str(path)
        try:
            pack = _Zip(path) if path.name.lower().endswith(".zip") else _Tar(path)
        except DAMAGE as error:
            raise IntegrityError(f"{path}: no zip or tar file that can be read: {error}") from error
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        self._pack = pack
        self._check(path)
        self._root = self._root_of(marker)
        self._files = {
            name.removeprefix(self._root): size
            for name, size in pack.sizes.items()
            if name.startswith(self._root)
        }

    def names(self, path: str) -> list[str]:
        inside = f"{path}/" if path else ""
        below = (name[len(inside) :] for name in self._files if name.startswith(inside))
        found = {name.partition("/")[0] for name in below}
        return sorted(name for name in found if not name.startswith("."))

    def size(self, path: str) -> int | None:
        return self._files.get(path)

    def sizes(self, path: str) -> dict[str, int]:
        inside = {name for name in self._files if name.rpartition("/")[0] == path}
        return {name: self._files[name] for name in inside}

    def tree(self) -> Iterator[tuple[str, Found]]:
        for name, size in self._files.items():
            yield name, Found(size)
        for name in self._pack.sizes:
            if not name.startswith(self._root):
                yield name, Found(0, "a file beside the folder of the archive")

    def read(self, path: str) -> bytes:
        with storage_errors(f"{self.address}/{path}", passing=False), self.open(path) as file:
            return file.read()

    def open(self, path: str) -> BinaryIO:
        if path not in self._files:
            raise NotFoundError(f"{self.address}/{path}: no such file")
        with storage_errors(f"{self.address}/{path}", passing=False):
            return self._pack.open(f"{self._root}{path}")

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="trackbridge-") as scratch, self.open(path) as file:
            local = Path(scratch, "fetched")
            with local.open("wb") as out:
                shutil.copyfileobj(file, out, 1 << 20)
            yield local

    def scratch(self, name: str) -> AbstractContextManager[Path]:
        self._refuse()

    def clear_scratch(self) -> None:
        """Nothing to do: nobody writes into it."""

    def publish(self, local: Path, path: str) -> None:
        self._refuse()

    def move(self, path: str, to: str) -> None:
        self._refuse()

    def settle(self, paths: Iterable[str]) -> None:
        self._refuse()

    def remove(self, path: str) -> None:
        self._refuse()

    def url(self, path: str) -> str | None:
        return None

    def _refuse(self) -> NoReturn:
        raise ConfigError(f"{self.address}: a packed archive is only read; unpack it to write")

    def _root_of(self, marker: str) -> str:
        """The one folder at the top that has the marker; nothing where the top itself is it."""
        roots = [name.removesuffix(marker) for name in self._pack.sizes if _is_root(name, marker)]
        if len(roots) > 1 and "" not in roots:
            raise IntegrityError(f"{self.address}: holds several archives; unpack it")
        return min(roots, default="")

    def _check(self, path: Path) -> None:
        for name in self._pack.odd:
            raise IntegrityError(f"{path}: {name!a} {self._pack.odd[name]}; nothing of it is read")
        for name in self._pack.sizes:
            if is_hostile(name):
                raise IntegrityError(
                    f"{path}: {name!a} leads out of it, or is no name; nothing of it is read"
                )
        size, packed = sum(self._pack.sizes.values()), path.stat().st_size
        if size > max(SMALL, MOST * packed):
            raise IntegrityError(
                f"{path}: would unpack to {size // packed} times its size; nothing of it is read"
            )


def _is_root(name: str, marker: str) -> bool:
    folder, _, file = name.rpartition("/")
    return file == marker and "/" not in folder


class _Zip:
    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)
        self.sizes: dict[str, int] = {}
        self.odd: dict[str, str] = {}
        for info in self._file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                self.odd[info.filename] = "is encrypted"
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                self.odd[info.filename] = "is a link or device"
            elif info.filename in self.sizes:
                self.odd[info.filename] = "is there twice"
            elif not info.is_dir():
                self.sizes[info.filename] = info.file_size

    def open(self, name: str) -> BinaryIO:
        with _damage():
            file = self._file.open(name)
        return cast("BinaryIO", GuardedFile(cast("BinaryIO", file), _damage))


class _Tar:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.sizes: dict[str, int] = {}
        self.odd: dict[str, str] = {}
        self._begins: dict[str, int] = {}
        with tarfile.open(path, "r:") as file:
            for info in file:
                name = info.name.removeprefix("./")
                if info.isdir():
                    continue
                if not info.isfile() or info.issparse():
                    self.odd[name] = "is a link or device"
                elif name in self.sizes:
                    self.odd[name] = "is there twice"
                self.sizes[name], self._begins[name] = info.size, info.offset_data

    def open(self, name: str) -> BinaryIO:
        return cast("BinaryIO", _Part(self._path, self._begins[name], self.sizes[name]))


@contextmanager
def _damage() -> Iterator[None]:
    """Makes damage of a file in a zip an error of reading like any other."""
    try:
        yield
    except DAMAGE as error:
        raise OSError(errno.EIO, f"the zip file is damaged: {error}") from error


class _Part(io.RawIOBase):
    """Some bytes of a file, with a handle of their own."""

    def __init__(self, path: Path, begin: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(begin)
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)[: self._left]
        count = self._file.readinto(view) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
