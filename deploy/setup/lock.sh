#!/usr/bin/env bash
# Resolves requirements/*.in into requirements/*.txt, pinned by hash for every platform a package is made for.
#
#   deploy/setup/lock.sh             keep versions that still fit
#   deploy/setup/lock.sh --upgrade   take the newest
#
# The three locks are each complete, and each contains the one before: run < sandbox < dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check 'pip-tools==7.6.2'

compile() {
    # Where packages come from is the machine's business: no index, no host name in a lock.
    CUSTOM_COMPILE_COMMAND="make lock" "$tools/bin/pip-compile" --quiet --generate-hashes --strip-extras \
        --allow-unsafe --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        --no-emit-options --output-file "requirements/$1.txt" "${@:2}" "requirements/$1.in"
}
compile dev "$@"
for part in sandbox run; do
    # Starting from the bigger lock keeps its versions and hashes.
    cp requirements/dev.txt "requirements/$part.txt"
    compile "$part"
done
