"""Progress reports."""

from ..internal.missing import module_getattr
from .progress_print import ProgressPrinter, log_number_of_parameters
from .progress_writer import ProgressWriter

__all__ = ["ProgressPrinter", "ProgressWriter", "log_number_of_parameters"]

__getattr__ = module_getattr("cntk.logging")
