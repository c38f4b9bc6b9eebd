"""Carries out transfer plans.

sources     local files: what they are, and their bytes
"""
