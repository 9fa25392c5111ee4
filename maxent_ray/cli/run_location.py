"""Results folder of a run, new or to resume."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxent_ray.train.run_folder import acquire_folder, check_is_new


@dataclass(frozen=True)
class RunLocation:
    """Results folder of a run, new or to resume."""

    name: str
    results: Path
    resume: bool
    uri: str | None = None
    """URI that the folder is mirrored to; None for a folder that the user named."""

    @classmethod
    def of(cls, name: str, results: Path, resume: Path | None) -> RunLocation:
        """``results/name``, or the folder to resume."""
        if resume is None:
            return cls(name, results, False)
        folder = resume.resolve()  # a link, or the folder that this process is in, has another name than the run's
        return cls(folder.name, folder.parent, True)

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.results / self.name

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the functions that run in it."""
        return {"name": self.name, "results": self.results, "resume": self.resume}

    @property
    def place(self) -> str:
        """Place of the results for the user: absolute, as a submitted job may start in another folder and machine."""
        return self.uri or str(self.folder.resolve())

    @property
    def resume_option(self) -> str:
        """The option that resumes the run, as typed into a shell."""
        return f"--resume {shlex.quote(self.uri) if self.uri else self.folder}"

    def check_available(self) -> None:
        """Check before the start that no other run, and no other driver of this one, writes there.

        Raises:
            ResumeError: the folder of a new run exists; the one to resume holds no run, or is in use.
        """
        if not self.resume:
            check_is_new(self.folder)
            return
        with acquire_folder(self.folder, resume=True):
            pass  # the run itself locks it again
