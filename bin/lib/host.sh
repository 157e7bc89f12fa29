# shellcheck shell=bash
# Shared functions of the commands in bin/. The variable tree is the formula's folder.

# need_packages PROGRAM:PACKAGE ...: installs the packages of missing programs.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        if ! command -v "${pair%%:*}" >/dev/null; then
            missing+=("${pair#*:}")
        fi
    done
    install_packages "${missing[@]}"
}

# install_packages PACKAGE ...: installs packages by apt-get and prints their names; without
# arguments it does nothing.
install_packages() {
    [[ $# -gt 0 ]] || return 0
    if [[ $EUID -ne 0 ]]; then
        echo "${0##*/}: packages are missing: $*; run this as root, or install them" >&2
        exit 1
    fi
    echo "Installing on this machine: $*" >&2
    local log
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes "$@"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}

# run_support MODULE ARGUMENT ...: runs a module of tests/support with Debian's own Python.
run_support() {
    PYTHONPATH=$tree/tests PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 -m "$@"
}
