"""What DNS should hold: key records, mail policies, and the texts that show them."""

from .delegated import delegated, delegation_records
from .dmarc import dmarc_record, report_authorisation_records
from .key_record import key_record
from .policies import mta_sts_policy, mta_sts_record, mta_sts_url, spf_record, tls_rpt_record
from .record import BY_HAND, Record
from .text import FORMATS, render

__all__ = [
    "BY_HAND",
    "FORMATS",
    "Record",
    "delegated",
    "delegation_records",
    "dmarc_record",
    "key_record",
    "mta_sts_policy",
    "mta_sts_record",
    "mta_sts_url",
    "render",
    "report_authorisation_records",
    "spf_record",
    "tls_rpt_record",
]
