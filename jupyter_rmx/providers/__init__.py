"""How to get a machine.

base        the contract: VMProvider
registry    finds providers by the entry point group `jupyter_rmx.providers`
drivers/    one module per service
"""
