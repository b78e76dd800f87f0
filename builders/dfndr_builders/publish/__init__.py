"""Publishing: from a dataset's folder to a repository of the Hub, whole, checked and licensed."""

from dfndr_builders.publish.run import Publication, Published, prepare, publish

__all__ = ["Publication", "Published", "prepare", "publish"]
