"""
The options of opendkim.conf(5) that the daemon of Debian 12 and 13 accepts (2.11.0~beta2).

The source is the manual page, which is the same in both releases. Each option was tried with
``opendkim -n``. These are left out, since the manual has them but Debian's build does not know
them: IdentityHeader, IdentityHeaderRemove, POPDBFile, ResignAll, ResignMailTo, SMTPURI,
StatisticsPolicyScript. These are added, since the daemon accepts them although the manual lacks
them: ATPSDomains, ATPSHashAlgorithm. VBR-PurgeFields is a string in the manual and a boolean to the
daemon.
"""

_BOOLEANS = """
    AllowSHA1Only AlwaysAddARHeader AuthservIDWithJobID AutoRestart Background
    CaptureUnknownErrors Diagnostics DisableCryptoInit DNSConnect DomainKeysCompat
    EnableCoredumps FixCRLF IgnoreMalformedMail KeepAuthResults KeepTemporaryFiles
    LDAPDisableCache LDAPUseTLS LogResults LogWhy MultipleSignatures NoHeaderB Quarantine
    QueryCache RemoveARAll RemoveOldSignatures RequestReports RequiredHeaders RequireSafeKeys
    ResolverTracing SendReports SoftStart SoftwareHeader StrictHeaders StrictTestMode SubDomains
    Syslog SyslogSuccess VBR-PurgeFields VBR-TrustedCertifiersOnly WeakSyntaxChecks
"""
_INTEGERS = """
    AutoRestartCount ClockDrift DNSTimeout LDAPKeepaliveIdle LDAPKeepaliveInterval
    LDAPKeepaliveProbes LDAPTimeout MaximumHeaders MaximumSignaturesToVerify MaximumSignedBytes
    MilterDebug MinimumKeyBits SignatureTTL UMask
"""
_STRINGS = """
    ATPSHashAlgorithm AuthservID AutoRestartRate BaseDirectory BogusKey Canonicalization
    ChangeRootDirectory DiagnosticDirectory FinalPolicyScript Include KeyFile LDAPAuthMechanism
    LDAPAuthName LDAPAuthRealm LDAPAuthUser LDAPBindPassword LDAPBindUser Minimum Mode
    MTACommand Nameservers On-BadSignature On-Default On-DNSError On-InternalError
    On-KeyNotFound On-NoSignature On-Security On-SignatureError PidFile RedirectFailuresTo
    ReplaceRules ReportAddress ReportBccAddress ResolverConfiguration ScreenPolicyScript
    SelectCanonicalizationHeader Selector SenderMacro SetupPolicyScript SignatureAlgorithm
    Socket Statistics StatisticsName StatisticsPrefix SyslogFacility SyslogName
    TemporaryDirectory TestPublicKeys TrustAnchorFile UnprotectedKey UserID VBR-Certifiers
    VBR-TrustedCertifiers VBR-Type
"""
_DATASETS = """
    ATPSDomains BodyLengthDB Domain DontSignMailTo ExemptDomains ExternalIgnoreList
    InternalHosts KeyTable MacroList MTA MustBeSigned OmitHeaders OversignHeaders PeerList
    RemoveARFrom ReplaceHeaders SenderHeaders SignHeaders SigningTable TestDNSData
    TrustSignaturesFrom
"""

# Names in the manual's spelling, with their types: boolean, integer, string or dataset.
OPTIONS: dict[str, str] = {
    name: kind
    for kind, names in (
        ("boolean", _BOOLEANS),
        ("integer", _INTEGERS),
        ("string", _STRINGS),
        ("dataset", _DATASETS),
    )
    for name in names.split()
}

_KEYS = "keys are in the database alone, and their views are the only tables"
_SYSTEMD = "the unit's drop-in decides this; systemd runs and restarts the daemon"

# Options that the pillar can't set, with the reason.
OWNED: dict[str, str] = {
    "KeyTable": _KEYS,
    "SigningTable": _KEYS,
    "KeyFile": _KEYS,
    "Selector": _KEYS,
    "Domain": _KEYS,
    # Each algorithm has a daemon of its own: this option is for the whole daemon (measured).
    "SignatureAlgorithm": "it follows dkim:domains:*:algorithm",
    "Socket": "Postfix has to find it; dkim:lookup:socket_directory moves it",
    "UserID": _SYSTEMD,
    "Background": _SYSTEMD,
    "PidFile": _SYSTEMD,
    "ChangeRootDirectory": _SYSTEMD,
    "AutoRestart": _SYSTEMD,
    "AutoRestartCount": _SYSTEMD,
    "AutoRestartRate": _SYSTEMD,
    "Include": "nothing in that file would be checked; give its options here",
    "LDAPBindPassword": "the formula writes no password into opendkim.conf",
}

_BY_LOWER_CASE = {name.lower(): name for name in OPTIONS}


def spelling(name: str) -> str | None:
    """Return the option's name in the manual's spelling, or None. The daemon ignores case."""
    return _BY_LOWER_CASE.get(name.lower())
