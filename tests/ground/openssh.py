"""The OpenSSH client of this computer, asked what it makes of a command line."""

import os
import pwd
import socket
import subprocess

from jupyter_rmx.ssh.config import Here

USER = pwd.getpwuid(os.getuid())
# ssh takes the home folder from the password file, and variables from its environment.
ENVIRON = {"PATH": os.environ["PATH"], "HOME": USER.pw_dir, "KEYS": "/keys50%"}
HERE = Here(USER.pw_name, USER.pw_dir, socket.gethostname(), os.getuid(), ENVIRON)


def ssh_G(words):  # noqa: N802 - as in the code
    """What `ssh -G` prints for these words, or its complaint as AssertionError."""
    done = subprocess.run(
        ["ssh", "-G", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=ENVIRON
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
