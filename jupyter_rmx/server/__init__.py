"""The Jupyter server extension: REST, the alias origin, and what starts and stops with Jupyter.

extension   RmxExtension: traits, start, stop
identity    the connection file's key beside Jupyter's own authentication
base        what all handlers share: identity, errors as JSON
routes      the one table of routes, for Tornado and for OpenAPI
openapi     the OpenAPI document, made from that table
vms, machines, execution, files, ports, meta     the handlers
alias       the alias origin's place in Tornado's routing
"""
