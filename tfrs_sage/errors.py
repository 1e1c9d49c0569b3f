"""The one error type that means: what the user gave cannot be used."""


class InputError(ValueError):
    """Bad usage or bad input: the command line answers it with exit code 2.

    The text says the rule, the value found and a way out, in that order.
    """
