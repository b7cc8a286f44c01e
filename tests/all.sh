#!/bin/bash
# Everything that can be checked, cheapest first. Called by `make test`, which has unpacked libtorch.
#
# What a machine lacks is fetched where that changes nothing outside this folder, or where we are root; else the check
# is skipped, which is said at the end. With CI=true a skip is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

ran=()
skipped=()
target=${CARGO_TARGET_DIR:-target}

main() {
    get_prometheus
    get_systemd
    get_clients
    check fmt cargo fmt --all --check
    check clippy cargo clippy --locked --workspace --all-targets --quiet -- --deny warnings
    check libtorch cargo build --locked --package forecastd-torch --quiet
    FORECASTD_TORCH=$(realpath "$target/debug/forecastd-torch")
    export FORECASTD_TORCH
    # Tests that need it end early without it, or fail where CI is set.
    if [ -z "${FORECASTD_DATA:-}" ]; then
        skip "real data" "FORECASTD_DATA does not name the folder of public data sets"
    fi
    if cargo nextest --version >/dev/null 2>&1; then
        check tests cargo nextest run --locked --workspace
    else
        check tests cargo test --locked --workspace --lib --bins --tests
    fi
    check doctests cargo test --locked --workspace --doc --quiet
    RUSTDOCFLAGS="--deny warnings" check doc cargo doc --locked --workspace --no-deps --quiet
    if compgen -G 'benches/*.rs' >/dev/null || compgen -G '*/benches/*.rs' >/dev/null; then
        check benches cargo test --locked --workspace --bench '*' --quiet
    fi
    if command -v promtool >/dev/null; then
        check alerts promtool test rules systemd/alerts.test.yml
    fi
    if command -v systemd-analyze >/dev/null; then
        check unit verify_unit
    else
        skip unit "systemd-analyze is missing, and only root can install systemd"
    fi
    say_what_was_done
}

check() {
    local name=$1
    shift
    echo "== $name: $*"
    "$@" || { echo "FAILED: $name" >&2; exit 1; }
    ran+=("$name")
}

skip() {
    echo "== skipped: $1: $2" >&2
    skipped+=("$1 ($2)")
}

# Prometheus and promtool are single executables: unpacked beside the sources, not installed, so no server starts.
get_prometheus() {
    PATH=$PATH:$PWD/.tools/usr/bin
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
        return
    fi
    mkdir -p .tools
    if ! (cd .tools && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } &&
        dpkg --extract prometheus_*.deb . && rm prometheus_*.deb); then
        skip prometheus "neither installed nor to be had from Debian's packages"
    fi
}

# Other people's clients of our endpoint, pinned, in an environment beside the sources.
get_clients() {
    local folder=.venv-clients list=tests/clients/requirements.txt
    if cmp --silent "$list" "$folder/installed"; then
        return
    fi
    rm -rf "$folder"
    if python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --requirement "$list"; then
        cp "$list" "$folder/installed"
    else
        rm -rf "$folder"
        skip clients "Python 3 with venv, or PyPI, is not to be had"
    fi
}

get_systemd() {
    if ! command -v systemd-analyze >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get install --yes --no-install-recommends systemd || { apt-get update && apt-get install --yes --no-install-recommends systemd; } || true
    fi
}

# The unit as it will be installed, but with the executable that was just built: systemd wants it to exist.
verify_unit() {
    local folder
    folder=$(mktemp -d)
    sed "s#/usr/bin/forecastd#$(realpath "$target/debug/forecastd")#g" systemd/forecastd.service >"$folder/forecastd.service"
    systemd-analyze verify --man=no --recursive-errors=no "$folder/forecastd.service"
    rm -r "$folder"
}

say_what_was_done() {
    local left=${#skipped[@]}
    if [ "$left" = 0 ]; then
        echo "All passed: ${ran[*]}. Nothing was skipped."
        return
    fi
    echo "Passed: ${ran[*]}. Skipped: $(IFS=';'; echo "${skipped[*]}")."
    if [ "${CI:-}" = true ]; then
        echo "FAILED: with CI=true nothing may be skipped" >&2
        exit 1
    fi
}

main
