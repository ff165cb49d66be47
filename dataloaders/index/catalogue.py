"""The datasets of the project, by name: `datasets/<name>.py` defines each as its `DATASET`."""

NAMES = (
    "core50",
    "core50_mini",
    "toybox",
    "ilab2mlight",
    "cifar100",
    "digits",
)
"""In the order of tables and figures."""
