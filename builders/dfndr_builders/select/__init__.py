"""Selection, the only global step of a build: which scored rows are kept."""

from dfndr_builders.select.rule import Fusion, Limit, Quota, Rule
from dfndr_builders.select.run import select
from dfndr_builders.select.selection import Selection, is_validation, read_selection

__all__ = ["Fusion", "Limit", "Quota", "Rule", "Selection", "is_validation", "read_selection", "select"]
