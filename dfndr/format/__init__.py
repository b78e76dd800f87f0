"""The specification in code; `docs/format.md` is the same in prose, and the prose is normative."""
