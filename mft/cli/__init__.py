"""The programs: their options, mains and exit codes. Everything they do is in the layers below."""
