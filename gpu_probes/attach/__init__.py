"""Runs the user's script unmodified in this process and watches it train.

``child.py`` is the file the user's interpreter starts. It makes ``convlint.gpu_probes`` importable,
holds the script's writes back, waits for ``import torch``, hooks the framework and runs the script
as ``python script.py`` would.
"""
