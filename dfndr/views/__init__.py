"""Views: a crop box and up to two operations as parameters, drawn, stored, and replayed bit for bit."""

from __future__ import annotations

from dfndr.views.operations import Operation
from dfndr.views.replay import apply, replay
from dfndr.views.sampling import Sampler
from dfndr.views.view import View, parse_views

__all__ = ["Operation", "Sampler", "View", "apply", "parse_views", "replay"]
