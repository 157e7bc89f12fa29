"""Records that DNS should hold: key records and mail policies, and texts that show them."""

from .delegated import delegated, delegation_records
from .dmarc import dmarc_record, report_authorisation_records
from .key_record import key_record
from .policies import mta_sts_policy, mta_sts_record, mta_sts_url, spf_record, tls_rpt_record
from .record import MANUAL_PURPOSES, Record
from .text import FORMATS, render

__all__ = [
    "FORMATS",
    "MANUAL_PURPOSES",
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
