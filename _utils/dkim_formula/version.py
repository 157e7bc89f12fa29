"""The version of the formula and of this library."""

VERSION = "0.1.0"
