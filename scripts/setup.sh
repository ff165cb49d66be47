# Sourced by the other scripts: makes .venv and installs a requirements file, once. Sets PYTHON.
#   . scripts/setup.sh requirements.txt

CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=.venv/bin/python

lethe_find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "error: expected Python 3.11 or newer with its venv module (Debian: python3-venv) on the PATH, found none" >&2
    return 1
}

# lethe_files FILE: the requirements file and those that it includes.
lethe_files() {
    local flag file
    echo "$1"
    while read -r flag file _; do
        if [ "$flag" = -r ]; then lethe_files "$file"; fi
    done <"$1"
}

# lethe_text FILE: all that it requires, and the package. This is its stamp: a changed version is a new installation,
# an equal one none.
lethe_text() {
    local file
    for file in $(lethe_files "$1" | sort -u) pyproject.toml; do cat "$file"; done
}

lethe_install() {
    local stamp=".venv/.installed-$1" python file
    [ -x "$PYTHON" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(lethe_text "$1")" ] && return
    rm -f .venv/.installed-* # what other files required may be replaced now
    if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then # there is none, or its making was interrupted
        python=$(lethe_find_python) && "$python" -m venv --clear .venv || return
    fi
    echo "installing $1 into .venv (5 GB and some minutes, once)" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$1" || return
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --editable . || return
    for file in $(lethe_files "$1" | sort -u); do
        lethe_text "$file" >".venv/.installed-$file"
    done
}

lethe_install "$1" || exit 1
