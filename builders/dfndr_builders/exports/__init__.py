"""Exports: a dataset as other tools read it. What is written is no dataset: it has no manifest and promises nothing."""

from dfndr_builders.exports.dr_sample import Form
from dfndr_builders.exports.run import Kind, export

__all__ = ["Form", "Kind", "export"]
