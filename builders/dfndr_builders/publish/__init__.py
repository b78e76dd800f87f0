"""Publishing: from a dataset's folder to a repository of the Hub."""
