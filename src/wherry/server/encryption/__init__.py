"""Encryption at rest: objects enciphered between server and store, in kube-apiserver's own formats.

configuration.py reads the EncryptionConfiguration, transformers.py and kms.py turn values into ciphertext and back,
store.py puts them between the server and its store. Nothing here is loaded unless a configuration is given.
"""


class ConfigurationError(ValueError):
    """The file cannot be used; the message says why."""
