"""Decides what a transfer will do before anything is done: data in, data out, no I/O.

upload      local files to a folder of a machine
quoting     paths and URLs for a terminal
"""
