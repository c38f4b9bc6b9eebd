"""A remote loopback port as a browser origin.

alias       grammar of the alias hosts (pure)
headers     which headers an app and a browser see (pure)
proxy       request in, response out, over any byte stream; no framework in it
tickets     single-use tickets and the grants that they become
"""
