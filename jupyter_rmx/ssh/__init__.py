"""What SSH command lines and ssh_config mean: text in, values out, no I/O.

target       whatever a person pastes -> SSHTarget; its machine name
argv         the words of an `ssh` command line, as OpenSSH reads them
destination  `[user@]host[:port]`, `ssh://…`
options      `-o` options that survive; identity paths
key          which targets share one connection
resolved     the output of `ssh -G` as a value
config       ssh_config(5) without OpenSSH; its host names (syntax, keywords)
jump         `ProxyJump` chains
tokens       `%h`, `~` and `${NAME}` of ssh_config
detect       the SSH session in the foreground of a terminal; of mosh and Eternal Terminal: roaming
quoting      words for a shell
"""
