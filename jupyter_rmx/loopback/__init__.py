"""A remote loopback port as a browser origin.

alias       grammar of the alias hosts, and the links between them and the machine's loopback (pure)
headers     which headers an app and a browser see (pure)
tickets     single-use tickets, the grants that they become, and claims to open one tab
pages       what we answer ourselves
gate        who comes through; the look-up of a machine by its label
wire        HTTP/1.1 and bare bytes over a byte stream
proxy       request in, response out; no framework in it
"""
