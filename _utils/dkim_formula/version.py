"""The version of the formula that this library is of."""

VERSION = "0.1.0"
