# shellcheck shell=bash
# What the commands in bin/ share. The variable tree is the formula's folder.

# need_packages PROGRAM:PACKAGE ...: installs the packages of programs that are not there.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        if ! command -v "${pair%%:*}" >/dev/null; then
            missing+=("${pair#*:}")
        fi
    done
    install_packages "${missing[@]}"
}

# install_packages PACKAGE ...: by apt-get, saying so; nothing is done without arguments.
install_packages() {
    [[ $# -gt 0 ]] || return 0
    if [[ $EUID -ne 0 ]]; then
        echo "${0##*/}: not root, and these packages are missing: $*" >&2
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

# run_support MODULE ARGUMENT ...: Debian's own Python, which needs no packages for this.
run_support() {
    PYTHONPATH=$tree/tests PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 -m "$@"
}
