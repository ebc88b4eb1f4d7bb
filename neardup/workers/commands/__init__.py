"""One module for each command; a module's docstring is the command's help."""
