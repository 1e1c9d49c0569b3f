"""`python -m tfrs_sage.cli` is `tfrs-sage`."""

from tfrs_sage.cli.main import entry

if __name__ == "__main__":
    entry()
