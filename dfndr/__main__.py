"""`python -m dfndr`: the command, where no script of that name is on the path."""

from dfndr.cli import main

if __name__ == "__main__":
    main()
