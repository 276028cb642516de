"""``python -m convlint`` is the command line."""

from convlint.cli import main

if __name__ == "__main__":
    main(prog_name="python -m convlint")
