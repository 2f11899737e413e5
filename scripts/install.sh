#!/usr/bin/env bash
# Makes sure that everything which `make run` and `make test` need is on this machine.
#
# Quick when nothing is missing. With apt it installs what is; elsewhere it says what to install.
# `--tests` also asks for what only the tests use, `--monitoring` for Prometheus alone.
set -euo pipefail

cd "$(dirname "$0")/.."

readonly MIN_POSTGRES=15 MIN_REDIS=7 MIN_JAVA=17 MIN_NODE=18
readonly POM=crates/local-stack/kafka/pom.xml
readonly PLAYER=crates/e2e/player CHECKERS=crates/e2e/checkers.txt

for_tests=no monitoring=no
for option in "$@"; do
    case "$option" in
        --tests) for_tests=yes monitoring=yes ;;
        --monitoring) monitoring=yes ;;
        *) echo "usage: scripts/install.sh [--tests] [--monitoring]" >&2; exit 2 ;;
    esac
done

main() {
    local missing
    check_rust
    missing=$(missing_packages)
    if [ -n "$missing" ]; then
        install "$missing"
        missing=$(missing_packages)
        [ -z "$missing" ] || fail "still missing or too old after the installation:$(names "$missing")"
    fi
    fetch_kafka
    if [ "$for_tests" = yes ]; then
        fetch_player
        fetch_checkers
    fi
}

check_rust() {
    command -v cargo >/dev/null ||
        fail "Rust is missing: install it with rustup (https://rustup.rs), open a new shell and run this again."
    local wanted found
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    # With rustup this fetches the version that rust-toolchain.toml pins.
    found=$(cargo --version | cut -d' ' -f2) || fail "cargo does not run: see the message above."
    at_least "$found" "$wanted" ||
        fail "cargo $found is older than $wanted: install Rust with rustup (https://rustup.rs), which picks the right version by itself."
}

# Prints one Debian package for each thing that is missing.
missing_packages() {
    has_c_toolchain || echo build-essential
    command -v pkg-config >/dev/null || echo pkg-config
    has_zlib || echo zlib1g-dev
    has_openssl || echo libssl-dev
    command -v curl >/dev/null || echo curl
    if needs DATABASE_URL; then has_postgres || echo postgresql; fi
    if needs REDIS_URL; then has_redis || echo redis-server; fi
    if needs KAFKA_BROKERS; then
        has_java || echo java
        [ -n "${KAFKA_HOME:-}" ] || has_kafka || command -v mvn >/dev/null || echo maven
    fi
    if [ "$monitoring" = yes ]; then has_prometheus || echo prometheus; fi
    if [ "$for_tests" = yes ]; then
        has_python || printf 'python3\npython3-venv\npython3-pip\n'
        has_node || printf 'nodejs\nnpm\n'
        has_chromium || echo chromium
    fi
}

# A server that the user names is not started here, but the tests also start private ones.
needs() {
    [ "$for_tests" = yes ] || [ -z "${!1:-}" ]
}

has_c_toolchain() {
    command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null
}

has_zlib() {
    pkg-config --exists zlib 2>/dev/null || [ -e /usr/include/zlib.h ]
}

# For librdkafka. Its headers are what a machine that runs something else with it lacks.
has_openssl() {
    pkg-config --exists libssl 2>/dev/null || [ -e /usr/include/openssl/ssl.h ]
}

has_postgres() {
    local bin
    for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(pg_config --bindir 2>/dev/null)"; do
        if [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] &&
            at_least "$("$bin/postgres" --version | grep -o '[0-9][0-9.]*' | head -n 1)" "$MIN_POSTGRES"; then
            return 0
        fi
    done
    return 1
}

has_redis() {
    command -v redis-server >/dev/null &&
        at_least "$(redis-server --version | sed 's/.*v=\([0-9.]*\).*/\1/')" "$MIN_REDIS"
}

has_java() {
    command -v java >/dev/null &&
        at_least "$(java -version 2>&1 | sed -n 's/.*version "\([0-9.]*\).*/\1/p' | head -n 1)" "$MIN_JAVA"
}

has_prometheus() {
    command -v prometheus >/dev/null && command -v promtool >/dev/null
}

has_python() {
    python3 -c 'import venv, ensurepip' 2>/dev/null
}

has_node() {
    command -v node >/dev/null && command -v npm >/dev/null && at_least "$(node --version | tr -d v)" "$MIN_NODE"
}

# CHROMIUM names one that is elsewhere.
has_chromium() {
    [ -n "${CHROMIUM:-}" ] || command -v chromium || command -v chromium-browser || command -v google-chrome
} >/dev/null

install() {
    local packages log as_root=() before
    packages=$(names "$1")
    command -v apt-get >/dev/null ||
        fail "this system has no apt: please install a C and C++ compiler, make, pkg-config, the zlib and OpenSSL headers, curl, PostgreSQL $MIN_POSTGRES or later, Redis $MIN_REDIS or later, Java $MIN_JAVA or later, Maven and, for the tests, Python 3 with venv, Node $MIN_NODE or later with npm, Chromium and Prometheus by its own means. Missing are:$packages"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            fail "as root, please install:$(debian_names "$1")"
        as_root=(sudo)
    fi

    log=$(mktemp)
    # Word splitting is wanted below: a list of package names.
    echo "Installing with apt:$packages"
    run_logged "$log" "${as_root[@]}" apt-get update
    packages=$(debian_names "$1")
    before=$(enabled_services)
    # shellcheck disable=SC2086
    run_logged "$log" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $packages
    keep_quiet "$before"
    rm -f "$log"
}

# Some packages have another name elsewhere: Java in each release, Chromium on Ubuntu.
debian_names() {
    local package java
    for package in $1; do
        if [ "$package" = java ]; then
            package=default-jre-headless
            for java in 17 21 25; do
                if apt-cache show "openjdk-$java-jre-headless" >/dev/null 2>&1; then
                    package=openjdk-$java-jre-headless
                    break
                fi
            done
        fi
        if [ "$package" = chromium ] && ! apt-cache show chromium >/dev/null 2>&1; then
            package=chromium-browser
        fi
        printf ' %s' "$package"
    done
}

run_logged() {
    local log=$1
    shift
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "'$*' failed; everything that it said is in $log"
    fi
}

# Debian starts a server when it installs it. Ours are private, so one that was not there before is
# switched off again, and one that was is not touched.
keep_quiet() {
    local service
    for service in postgresql redis-server prometheus; do
        case " $1 " in *" $service "*) continue ;; esac
        case " $(enabled_services) " in *" $service "*) ;; *) continue ;; esac
        if [ -d /run/systemd/system ]; then
            "${as_root[@]}" systemctl disable --now --quiet "$service" || true
        elif command -v update-rc.d >/dev/null; then
            "${as_root[@]}" service "$service" stop >/dev/null 2>&1 || true
            "${as_root[@]}" update-rc.d "$service" disable >/dev/null 2>&1 || true
        fi
    done
}

enabled_services() {
    local service
    for service in postgresql redis-server prometheus; do
        if [ -e "/etc/init.d/$service" ] || [ -e "/lib/systemd/system/$service.service" ]; then
            printf '%s ' "$service"
        fi
    done
}

kafka_version() {
    sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$POM"
}

# The copy of the pom tells which jars these are.
has_kafka() {
    cmp -s "$POM" ".local/kafka/$(kafka_version)/pom.xml"
}

fetch_kafka() {
    if ! needs KAFKA_BROKERS || [ -n "${KAFKA_HOME:-}" ] || has_kafka; then
        return 0
    fi
    local version into log files
    version=$(kafka_version)
    mkdir -p .local/kafka
    into=$(mktemp -d .local/kafka/.fetching.XXXXXX)
    log=$(mktemp)
    trap 'rm -rf "$into"' EXIT

    echo "Fetching Apache Kafka $version with Maven (some 45 MB, once) …"
    if ! mvn --batch-mode -f "$POM" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$PWD/$into/libs" 2>&1 </dev/null | tee "$log" | show_downloads; then
        grep -F ERROR "$log" | head -n 5 >&2 || true
        fail "Maven could not fetch Kafka; set KAFKA_HOME to an unpacked Kafka $version instead. Everything that Maven said is in $log"
    fi
    cp "$POM" "$into/pom.xml"
    # mktemp makes it for us alone, but another user may run the stack later.
    chmod 755 "$into"
    # Complete or not there at all, also when this is interrupted.
    rm -rf ".local/kafka/$version"
    mv "$into" ".local/kafka/$version"
    trap - EXIT
    rm -f "$log"
    files=$(find ".local/kafka/$version/libs" -name '*.jar' | wc -l)
    echo "Kafka $version is in .local/kafka/$version ($files jars)."
}

# Turns Maven's log into one line that counts, where somebody watches.
show_downloads() {
    if [ ! -t 1 ]; then
        cat >/dev/null
        return
    fi
    awk '/Downloaded from/ { printf "\r  %d files", ++n; fflush() } END { if (n) print "" }'
}

# What the tests use of npm, as its lock file has it.
fetch_player() {
    if cmp -s "$PLAYER/package-lock.json" "$PLAYER/node_modules/installed.json"; then return 0; fi
    local log
    log=$(mktemp)
    echo "Fetching a VAST client and a driver for Chromium with npm …"
    # No scripts of packages: nothing here needs any.
    if ! (cd "$PLAYER" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "npm could not fetch what $PLAYER/package-lock.json names; everything that it said is in $log"
    fi
    # Written last, so that an installation that was cut short is made again.
    cp "$PLAYER/package-lock.json" "$PLAYER/node_modules/installed.json"
    rm -f "$log"
}

# Schemathesis, Prometheus' own parser, and everything that they need, in the versions that are named.
fetch_checkers() {
    local into=.local/checkers log
    if cmp -s "$CHECKERS" "$into/installed.txt"; then return 0; fi
    log=$(mktemp)
    echo "Fetching Schemathesis and a parser of metrics with pip …"
    if ! { python3 -m venv --clear "$into" &&
        "$into/bin/python" -m pip install --quiet --disable-pip-version-check -r "$CHECKERS"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "pip could not install what $CHECKERS names; everything that it said is in $log"
    fi
    cp "$CHECKERS" "$into/installed.txt"
    rm -f "$log"
}

# Compares versions number by number.
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

names() {
    # shellcheck disable=SC2086
    printf ' %s' $1
}

fail() {
    echo "install: $1" >&2
    exit 1
}

main
