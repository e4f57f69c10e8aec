"""Files of runs and logged models on a server: through its storage, or what it serves itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from trackbridge.adapter import SIDECAR
from trackbridge.errors import BridgeError, ConfigError, IntegrityError, NotFoundError
from trackbridge_adapters.mlflow import artifacts
from trackbridge_adapters.mlflow.repository import Listed, Repository
from trackbridge_adapters.mlflow.rest_server import Json, LackingError, Server

MODEL_FILE = "MLmodel"
"""File of a model that names its run and its own id."""
LARGEST = 1 << 24
"""No such file is greater; what is, is something else."""


class Place:
    """Where the files of a run or a logged model lie."""

    def __init__(self, server: Server, uri: str | None, run_id: str, model_id: str = "") -> None:
        self._server, self._uri = server, uri or ""
        self._run_id, self._model_id = run_id, model_id

    def walk(self, damage: list[str]) -> list[Listed]:
        """All files but the thumbnails of ours; what cannot be listed is named in `damage`."""
        here = is_local(self._uri)
        found = self._served("", damage) if here else self.repository().walk(damage)
        return [entry for entry in found if not artifacts.is_thumbnail(entry.path)]

    def opened(self, path: str) -> BinaryIO | None:
        """A file as a stream; None where there is none."""
        if artifacts.leads_out(path):
            raise IntegrityError(f"{path!r}: not a path below the folder of its run; not read")
        if not is_local(self._uri):
            return self.repository().opened(path)
        try:
            if self._model_id:
                place = f"/ajax-api/2.0/mlflow/logged-models/{self._model_id}/artifacts/files"
                return self._server.download(place, {"artifact_file_path": path})
            return self._server.download("/get-artifact", {"path": path, "run_uuid": self._run_id})
        except (NotFoundError, LackingError):
            return None

    def repository(self) -> Repository:
        """The storage itself."""
        return Repository(self._uri, self._server.uri, self._server.workspace)

    def _served(self, folder: str, damage: list[str]) -> Iterator[Listed]:
        """A folder of the server's own disk, which is another than this machine's."""
        try:
            found = self._listing(folder)
        except NotFoundError:
            return
        except (ConfigError, IntegrityError, LackingError) as error:
            damage.append(f"artifacts/{folder}: {error}")
            return
        for entry in found:
            path = entry["path"]
            if artifacts.leads_out(path):
                continue
            if entry.get("is_dir"):
                yield from self._served(path, damage)
            else:
                size = entry.get("file_size")
                yield Listed(path, None if size is None else int(size))

    def _listing(self, folder: str) -> list[Json]:
        if self._model_id:
            place = f"mlflow/logged-models/{self._model_id}/artifacts/directories"
            named = {"artifact_directory_path": folder} if folder else {}
            return self._server.get(place, **named).get("files") or []
        named = {"path": folder} if folder else {}
        answer = self._server.get("mlflow/artifacts/list", run_id=self._run_id, **named)
        return answer.get("files") or []


def is_local(uri: str) -> bool:
    """Whether a URI means a folder of the server's machine."""
    split = urlsplit(uri)
    return split.scheme in ("", "file") or len(split.scheme) == 1


def is_own(path: str, *, carried: bool) -> bool:
    """Whether a file is Trackbridge's and not the run's."""
    return carried and path == SIDECAR


def is_model_file(path: str) -> bool:
    """Whether a file may name ids that differ between stores."""
    return path.rpartition("/")[2] == MODEL_FILE


def renamed(content: bytes, names: dict[str, str]) -> bytes:
    """The content of a file with ids in the place of others."""
    for old, new in names.items():
        content = content.replace(old.encode(), new.encode())
    return content


def whole(data: BinaryIO, where: str) -> bytes:
    """The content of a small file."""
    content = data.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BridgeError(f"{where}: more than {LARGEST} bytes, which no such file has")
    return content


def sizes(listed: Any) -> int:
    """Bytes of some files, as far as they are known."""
    return sum(entry.size or 0 for entry in listed)
