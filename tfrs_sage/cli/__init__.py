"""The command line: one thin file a verb over the rooms of the package."""
