"""Stages that measure: each adds columns about a row, which rules and selections look at later."""
