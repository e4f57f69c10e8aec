"""Files below an artifact URI, wherever it leads, through MLflow's own artifact repositories."""

from __future__ import annotations

import contextvars
import io
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import quote

from trackbridge import disk
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
    UnsupportedError,
    temporary_errors,
)
from trackbridge_adapters.mlflow import artifacts

HTTP_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "NoSuchKey", "NoSuchBucket", "404", "NotFound"})
"""Codes by which MLflow (3.17) and the clients of object stores say that there is nothing."""
A_FOLDER = "refers to a directory"
"""What MLflow's proxy says instead of a folder's bytes (server/artifact_router.py, 3.17)."""
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP states that may pass."""

Result = TypeVar("Result")


class Listed(NamedTuple):
    """A file found below a URI; `size` is null where the store does not say."""

    path: str
    size: int | None


class Repository:
    """The files of one run or model.

    `tracking_uri` is what `mlflow-artifacts:` refers to, and `workspace` that server's; both are
    only needed there.
    """

    def __init__(
        self, uri: str, tracking_uri: str | None = None, workspace: str | None = None
    ) -> None:
        self.uri = uri
        self._tracking_uri, self._workspace = tracking_uri, workspace
        self._opened: Any = None

    def walk(self, damage: list[str]) -> Iterator[Listed]:
        """All files in order; what cannot be listed is named in `damage` and stops nothing."""
        try:
            yield from self._walk("", damage)
        except TransientError:
            raise
        except BridgeError as error:
            damage.append(f"artifacts: {error}")

    def opened(self, path: str) -> BinaryIO | None:
        """A file, downloaded to disk first; None where there is none.

        Closing it deletes the copy.
        """
        if artifacts.leads_out(path):
            raise IntegrityError(f"{path!r}: not a path below the folder of its run; not read")
        folder = tempfile.mkdtemp(prefix="trackbridge-")
        copy = Path(folder, "file")
        try:
            self._do(lambda repo: _download(repo, path, copy))
            return io.BufferedReader(_Copy(copy, folder))
        except NotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def put(self, path: str, data: BinaryIO) -> None:
        """Store a file; one of the same path is replaced."""
        artifacts.inside(Path(), path)
        parent, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="trackbridge-") as folder:
            copy = Path(folder, name)
            disk.write(copy, data, temporary_errors)
            self._do(lambda repo: repo.log_artifact(str(copy), parent or None))

    def delete(self) -> None:
        """Remove all files, as far as the store can do that."""
        try:
            self._do(lambda repo: repo.delete_artifacts())
        except (NotFoundError, UnsupportedError):
            return

    def _walk(self, folder: str, damage: list[str]) -> Iterator[Listed]:
        found = self._do(lambda repo: repo.list_artifacts(folder or None))
        for entry in found:
            path = entry.path
            if path in ("", ".", folder) or artifacts.leads_out(path):
                continue
            if not entry.is_dir:
                yield Listed(path, entry.file_size)
                continue
            try:
                yield from self._walk(path, damage)
            except (TransientError, ConfigError):
                raise
            except BridgeError as error:
                damage.append(f"artifacts/{path}: {error}")

    def _do(self, action: Callable[[Any], Result]) -> Result:
        """Call something of the repository, with errors in the project's terms."""
        try:
            if self._workspace is None:
                return action(self._repository())
            context = contextvars.copy_context()
            context.run(_enter, self._workspace)
            return context.run(lambda: action(self._repository()))
        except BridgeError:
            raise
        except Exception as error:
            raise translated(self.uri, error) from error

    def _repository(self) -> Any:
        if self._opened is None:
            os.environ.setdefault(HTTP_RETRIES, "2")  # its own 7 make a dead host take minutes
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            # the tracking URI can be told since 2.20
            known = {} if self._tracking_uri is None else {"tracking_uri": self._tracking_uri}
            self._opened = get_artifact_repository(self.uri, **known)
        return self._opened


class _Copy(io.FileIO):
    """A file in a folder of its own, which goes when it is closed."""

    def __init__(self, path: Path, folder: str) -> None:
        super().__init__(str(path), "rb")
        self._folder = folder

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _download(repository: Any, path: str, copy: Path) -> None:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    # it puts the path into a URL as it is (store/artifact/http_artifact_repo.py, 3.17)
    is_url = isinstance(repository, HttpArtifactRepository)
    repository._download_file(quote(path) if is_url else path, str(copy))


def _enter(workspace: str) -> None:
    """Have MLflow's own requests in this context name the workspace."""
    from mlflow.utils.workspace_context import set_server_request_workspace

    set_server_request_workspace(workspace)


def translated(uri: str, error: Exception) -> BridgeError:
    """The project's error for one of MLflow, requests or an object store's client."""
    reason = one_line(error)
    response: Any = getattr(error, "response", None)
    state = getattr(response, "status_code", None)
    code = getattr(error, "error_code", None)
    if isinstance(response, dict):  # botocore, 1.x
        code = str(response.get("Error", {}).get("Code"))
        state = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    nothing = isinstance(error, (FileNotFoundError, IsADirectoryError))
    if nothing or state == 404 or code in MISSING or A_FOLDER in reason:
        return NotFoundError(f"{uri}: not there ({reason})")
    if isinstance(error, ImportError):
        return ConfigError(f"{uri}: {reason}; install the client of that storage")
    if state in (401, 403) or code in ("AccessDenied", "Forbidden"):
        return ConfigError(f"{uri}: access denied; check the credentials of that storage")
    if state in BUSY or _is_connection(error):
        return TransientError(f"{uri}: {reason}", retry_after(response))
    if isinstance(error, NotImplementedError):
        return UnsupportedError(f"{uri}: {reason or 'that storage cannot do this'}")
    if isinstance(error, OSError) and error.strerror:
        return ConfigError(f"{uri}: {error.strerror}")
    return BridgeError(f"{uri}: {reason}")


def _is_connection(error: Exception) -> bool:
    """Whether the other side did not answer: a fault that may pass."""
    names = {kind.__name__ for kind in type(error).__mro__}
    words = ("Max retries exceeded", "timeout exception", "Connection aborted", "ConnectionError")
    return (
        isinstance(error, (ConnectionError, TimeoutError))
        or bool(names & {"ConnectionError", "Timeout", "EndpointConnectionError"})
        or any(word in str(error) for word in words)
    )


def retry_after(response: Any) -> float | None:
    """Seconds that a server asks to wait for, if it says so."""
    wish = getattr(response, "headers", {}).get("Retry-After") if response is not None else None
    try:
        seconds = math.nan if wish is None else float(wish)
    except ValueError:  # a date
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def one_line(error: object) -> str:
    """The message of somebody else's error, fit for one line."""
    return " ".join(str(error).split())[:300]
