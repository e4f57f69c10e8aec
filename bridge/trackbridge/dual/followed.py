"""A run of another tracker, which says how the run is: no process of ours ends it."""

from __future__ import annotations

from trackbridge.dual.run import Run


class Followed(Run):
    """What is logged of a run elsewhere; its state is what `set` was last given."""

    counts = False

    def leave(self) -> None:
        """Nothing more comes from this process, as far as it knows; if it does, it is kept too."""
        journal = self._journal
        if journal is not None and (journal.lost or not journal.is_closed):
            self._end(journal, None, None)
            self.look()

    def _at_exit(self) -> None:
        self.leave()
