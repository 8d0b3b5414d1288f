"""What tests run against: real servers, started on free ports with data of their own, that can be killed and frozen.

binaries    where etcd, sshd, haproxy and the SSH client are
processes   one server process: logs kept, killed or frozen with all its descendants
waiting     wait for a state with a deadline; free ports
etcd        an etcd member
sshd        OpenSSH's server with SFTP only
sftp        OpenSSH's `sftp`, run with a batch of commands
leaks       what a test has left behind
"""
