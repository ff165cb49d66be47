# Sourced by the other scripts: makes .venv and installs a requirements file, once. Sets PYTHON.
#   . scripts/setup.sh requirements.txt

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=.venv/bin/python

lethe_find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "error: expected Python 3.11 or newer with its venv module on the PATH, found none" >&2
    return 1
}

lethe_install() {
    local stamp=".venv/.installed-$1" wanted python
    # The requirements themselves are the stamp: a changed version is a new installation, an equal one is none.
    wanted=$(cat requirements.txt "$1")
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
    [ -x "$PYTHON" ] || { python=$(lethe_find_python) && "$python" -m venv .venv; } || return
    echo "installing $1 into .venv (5 GB and some minutes, once)" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$1" || return
    printf '%s\n' "$wanted" >"$stamp"
}

lethe_install "$1" || exit 1
