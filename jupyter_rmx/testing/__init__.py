"""For tests of jupyter_rmx and of what others build on it; imported by nothing of the package itself.

provider_contract   the laws of VMProvider as test classes to inherit from; lifecycle_contract: those without a shell
fake_provider       FakeProvider: a VMProvider whose machines are rows in a file that many processes share
fake_credits        FakeCredits: a credit gateway of the same kind
fake_base           Fake: what both have: a journal of calls over all processes, and vices to set at run time
fake_entry          lets a Jupyter server of its own find the fake provider by an entry point
fake_truth, fake_machines, fake_endpoints   parts of these
server              JupyterServer: a Jupyter server in a process of its own
relay               FaultRelay: a TCP relay that cuts, resets, stalls, delays and slows on order
streams             byte streams over TCP
"""
