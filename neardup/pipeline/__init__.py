"""The library: values in, values out. No process, no service, no loop over a broker."""
