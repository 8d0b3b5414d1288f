"""WHO: a chain of authentication methods, asked in order; the first that accepts or rejects ends it.

chain.py       what a credential and an answer are, and the chain
accounts.py    the method `accounts`: passwords and keys that the config holds
passwords.py   hashing and checking of passwords, on threads of their own
public_keys.py public keys as their wire form, which is what is compared
"""
