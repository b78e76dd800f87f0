"""Taking rows out of a finished dataset: at once for every reader, and for good once it is compacted."""

from dfndr_builders.removing.compact import Compacted, compact
from dfndr_builders.removing.remove import Removed, remove

__all__ = ["Compacted", "Removed", "compact", "remove"]
