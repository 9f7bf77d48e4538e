"""What the scripts beside this one share."""

import os
import subprocess


def exported(retmask, model, folder):
    """The model as a Hugging Face folder in f32, which holds the values that retmask computes with."""
    target = os.path.join(folder, "model")
    command = [retmask, "model", "export", "--model", model, "--to", target, "--dtype", "f32"]
    subprocess.run(command, check=True, capture_output=True)
    return target
