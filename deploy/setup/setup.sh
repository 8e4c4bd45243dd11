#!/usr/bin/env bash
# Makes this machine ready. Installs only what is missing and says what; a second run takes a moment.
#
#   deploy/setup/setup.sh demo   what the local run needs
#   deploy/setup/setup.sh test   and what the tests and linters need
#   deploy/setup/setup.sh dev    and what only development needs
#   deploy/setup/setup.sh demo prometheus   a package of a later level with it
#
# Knows Debian 12 and its relatives. Elsewhere it names what is missing and stops.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Debian keeps nats-server in /usr/sbin, which an ordinary user's PATH lacks.
PATH="$PATH:/usr/sbin:/usr/local/sbin"

level="${1:-demo}" also="${2:-}"
case "$level" in
    demo) rank=1 lock=requirements/sandbox.txt ;;
    test) rank=2 lock=requirements/dev.txt ;;
    dev) rank=3 lock=requirements/dev.txt ;;
    *) echo "setup: unknown level '$level' (demo, test, dev)" >&2; exit 2 ;;
esac

say() { printf 'setup: %s\n' "$*"; }

# --- Debian packages: how to see that it is there, package, from which level on, what for -----------------
# "program:X" looks for a program, so that one installed by other means counts; "package" asks dpkg.
wanted='
program:nats-server  nats-server          1  the bus
program:openssl      openssl              1  reading certificates and timestamps
program:setpriv      util-linux           1  children that end with their parent
package              libpango-1.0-0       1  laying out documents
package              libpangoft2-1.0-0    1  laying out documents
package              libharfbuzz-subset0  1  embedding only the glyphs that are used
package              fonts-noto-cjk       1  the text of documents, rare names
package              fonts-lxgw-wenkai    1  regular script to write after
program:pdftotext    poppler-utils        2  reading documents back, checking their seals
program:chromium     chromium             2  the pages in a real browser
program:softhsm2-util softhsm2            2  keys in a PKCS#11 module
program:prometheus   prometheus           2  alert rules and their tests, the page of figures
'

python=""
for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13; do
    if command -v "$candidate" >/dev/null &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python="$candidate"
        break
    fi
done

missing=()
reasons=()
need() { missing+=("$1"); reasons+=("$1 ($2)"); }

if [ -z "$python" ]; then
    need python3 "Python 3.11 or newer"
    need python3-venv "an environment of our own"
elif [ ! -x .venv/bin/python ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    need python3-venv "an environment of our own"
fi

installed=""
if command -v dpkg-query >/dev/null; then
    installed="$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii *//p')"
fi
while read -r how package from why; do
    [ -n "$how" ] || continue
    [ "$from" -le "$rank" ] || [ "$package" = "$also" ] || continue
    # With a bus given, none of our own is started.
    if [ "$package" = nats-server ] && [ "$level" = demo ] && [ -n "${NATS_URL:-}" ]; then continue; fi
    case "$how" in
        program:*) command -v "${how#program:}" >/dev/null || need "$package" "$why" ;;
        package) grep -qxF "$package" <<<"$installed" || need "$package" "$why" ;;
    esac
done <<<"$wanted"

if [ "${#missing[@]}" -gt 0 ]; then
    say "missing: $(printf '%s, ' "${reasons[@]}" | sed 's/, $//')"
    install="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        say "this system has no apt-get. Install the above by its own means, then run this again." >&2
        exit 1
    fi
    if [ "$(id -u)" -eq 0 ]; then
        as_root=(env)
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=(sudo)
    else
        say "installing them takes root, and there is no sudo here. As root, run:" >&2
        printf '\n    %s\n\n' "$install" >&2
        exit 1
    fi
    say "running: $install"
    log="$(mktemp)"
    trap 'rm -f "$log"' EXIT
    if ! "${as_root[@]}" sh -c "export DEBIAN_FRONTEND=noninteractive; $install" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        say "apt-get failed, see above" >&2
        exit 1
    fi
    for package in nats-server prometheus; do
        # Their Debian packages also start a server of their own on every interface. Nobody asked for that.
        if [[ " ${missing[*]} " == *" $package "* ]] && [ -d /run/systemd/system ]; then
            say "switching off the $package that its package started"
            "${as_root[@]}" systemctl disable --now "$package" >/dev/null 2>&1 || true
        fi
    done
    python="${python:-python3}"
fi

# --- Python packages: exactly those of the lock, by hash ---------------------------------------------------
stamp=.venv/.requirements
wish="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') $(cat requirements/*.txt | sha256sum | cut -d' ' -f1)"
if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && [ -f "$stamp" ]; then
    read -r had_rank had_wish <"$stamp"
    if [ "$had_wish" = "$wish" ] && [ "$had_rank" -ge "$rank" ]; then
        exit 0
    fi
elif [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
say "installing Python packages of $lock (by hash)"
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r "$lock"
printf '%s %s\n' "$rank" "$wish" >"$stamp"
say "ready"
