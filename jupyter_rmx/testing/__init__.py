"""Public fakes and helpers for tests of code that builds on jupyter_rmx."""
