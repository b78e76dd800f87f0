"""A dataset's card: what its README.md says, and what is missing for it to be published."""

from dfndr_builders.card.measured import read_evaluations
from dfndr_builders.card.missing import missing
from dfndr_builders.card.page import About, card

__all__ = ["About", "card", "missing", "read_evaluations"]
