"""What is done with machines, step by step, over store and providers.

machines    MachineControl: create, find, list, destroy
recover     what a process that died left half-done is finished or undone
worker      which process works on a row
"""
