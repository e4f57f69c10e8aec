"""In which project of the target each run is to lie.

That is the one of the name that its project had where it was born, unless somebody wants another
(`renames`: project in the source's terms -> project in the target). Runs that are in the target
already stay where they are, and new ones of their project join them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from trackbridge.adapter import RunInfo, RunKey, RunRef, Writer
from trackbridge.choose import near
from trackbridge.errors import ConfigError, NotFoundError

NO_RENAMES: Mapping[str, str] = {}


class Placing:
    """Where runs of a source lie in a target, or are to lie.

    `here` are all runs of the source, by which its projects are known again; `there` those of the
    target.
    """

    def __init__(
        self,
        here: Iterable[tuple[RunRef, RunKey]],
        there: Iterable[RunInfo],
        writer: Writer | None,
        renames: Mapping[str, str] = NO_RENAMES,
    ) -> None:
        self.renames = renames
        self._writer = writer
        self._there = {info.key: info.ref.project for info in there}
        homes: dict[tuple[str, str], set[str]] = {}
        for ref, key in here:
            if key in self._there:
                homes.setdefault((ref.project, key.project), set()).add(self._stays(key))
        homed = Counter(label for labels in homes.values() for label in labels)
        self._joined = {
            names: label
            for names, (label, *more) in homes.items()
            if not more and (label == names[1] or homed[label] == 1)
        }
        """By the names of a project here and at the birth of its runs: where those there lie.

        Runs that somebody moved into another project of the source's take no others with them.
        """

    def _stays(self, key: RunKey) -> str:
        """The label of a run that is in the target."""
        native = self._there[key]
        usual = self._writer is None or self._writer.target(RunKey(*key)).project == native
        return key.project if usual else native

    def run(self, info: RunInfo) -> RunInfo:
        """The run with a key that says where it is to lie."""
        label = self._home(info)
        if info.ref.project not in self.renames and info.key in self._there:
            label = self._stays(info.key)
        return replace(info, key=info.key.placed(label))

    def _home(self, info: RunInfo) -> str:
        """What the project of a run is called in the target."""
        joined = self._joined.get((info.ref.project, info.key.project), info.key.project)
        return self.renames.get(info.ref.project, joined)

    def check_apart(self, infos: Iterable[RunInfo]) -> None:
        """`ConfigError` where runs of two projects would come to lie in one: keys say where.

        Runs that somebody moved to another project in the target stay there, and make no two one.
        """
        homes: dict[str, list[str]] = {}
        for info in infos:
            if info.key.label == self._home(info):
                known = homes.setdefault(info.key.label, [])
                if info.ref.project not in known:
                    known.append(info.ref.project)
        clashes = {label: projects for label, projects in homes.items() if len(projects) > 1}
        if clashes:
            told = [
                f"projects {' and '.join(map(repr, projects))} would "
                f"{'both' if len(projects) == 2 else 'all'} become {label!r}"
                for label, projects in clashes.items()
            ]
            lacking = (project for projects in clashes.values() for project in projects[1:])
            ways = " ".join(f"--rename-project {word(project)}=NEW" for project in lacking)
            raise ConfigError(
                f"{'; '.join(told)}, and their notes and tags one; give each of them a name of its "
                f"own: {ways}"
            )

    def elsewhere(self, info: RunInfo) -> str | None:
        """The project that a run lies in, though it is to be in another one."""
        there = self._there.get(info.key)
        wanted = self.renames.get(info.ref.project, there)
        return there if there != wanted else None

    def renamed(self, placed: Iterable[RunInfo], renamed: Collection[str]) -> Iterator[RunKey]:
        """Keys of runs in projects that were or are to be given another name."""
        names = {*renamed, *self.renames.values()}
        return (info.key for info in placed if info.key.label in names)

    def project(self, native: str, renamed: Collection[str]) -> str | None:
        """The name that a project was or is to be given, of those `renamed` in the target.

        None where it has the one that it was born with. A project that somebody has renamed in the
        target is still the same one.
        """
        joined = {label for (project, _), label in self._joined.items() if project == native}
        known = sorted(joined & set(renamed))
        return self.renames.get(native, known[0] if known else None)


def parse_renames(texts: Iterable[str]) -> dict[str, str]:
    """Names out of texts like OLD=NEW; `ConfigError` for anything else."""
    renames: dict[str, str] = {}
    for text in texts:
        old, mark, new = text.rpartition("=")
        if not mark or not old or not new:
            raise ConfigError(f"--rename-project {text}: write it like OLD=NEW")
        if renames.setdefault(old, new) != new:
            raise ConfigError(f"--rename-project: {old!r} can have one name only")
    return renames


def check_renames(
    renames: Mapping[str, str], meant: Iterable[RunInfo], writer: Writer | None
) -> None:
    """`ConfigError` or `NotFoundError` for names that cannot be what the person wants."""
    projects = {info.ref.project: info.key for info in meant}
    for old, new in renames.items():
        if old not in projects:
            raise NotFoundError(
                f"--rename-project {old}={new}: no project {old!r} among the runs that are meant; "
                f"there are {near(old, set(projects))}"
            )
        if writer is not None:
            shown = writer.target(projects[old].placed(new)).project
            if shown == writer.target(RunKey(*projects[old])).project != new:
                raise ConfigError(
                    f"{writer.address}: puts all runs into one project; leave out --rename-project"
                )
            if shown != new:
                raise ConfigError(
                    f"--rename-project {old}={new}: {writer.address} can have no project of that "
                    f"name; call it {shown!r}, or otherwise"
                )


def word(text: str) -> str:
    """A text as one word of a command."""
    return f"'{text}'" if " " in text else text
