"""For tests of jupyter_rmx and of what others build on it; imported by nothing of the package itself.

provider_contract   the laws of VMProvider as a test class to inherit from
"""
