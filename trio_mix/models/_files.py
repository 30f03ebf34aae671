"""Models of the files of a session."""

from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class FileInfo(Record):
    """A file of a session."""

    name: str
    """The file's name."""
    size: int
    """Its length in bytes."""
    modified: datetime
    """When it last changed."""
    is_dir: bool
    """Whether it is a folder."""
    url: str | None = None
    """Where it can be fetched (from 0.6.9)."""
