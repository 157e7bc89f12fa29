"""What DNS should hold: key records, DMARC policies, and the texts that show them."""

from .dmarc import dmarc_record, report_authorisation_records
from .key_record import key_record
from .record import Record
from .text import FORMATS, render

__all__ = [
    "FORMATS",
    "Record",
    "dmarc_record",
    "key_record",
    "render",
    "report_authorisation_records",
]
