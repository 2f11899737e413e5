#!/usr/bin/env bash
# Stops what still runs from this clone and removes its data and logs. Kafka's jars stay.
set -euo pipefail

cd "$(dirname "$0")/.."

# How long a stack may take to stop, in seconds: services first, then stores.
readonly STOP_WITHIN=60

main() {
    local lock pid_file
    for lock in .local/data/*.lock; do
        [ -e "$lock" ] && stop_owner "$lock"
    done
    for pid_file in .local/data/*.pid; do
        [ -e "$pid_file" ] && end_leftover "$pid_file"
    done
    remove_data
}

# The owner of a data folder holds its lock, and has written its pid into it.
stop_owner() {
    local lock=$1 pid
    flock --nonblock "$lock" true && return
    pid=$(cat "$lock")
    echo "Stopping the local stack, process $pid"
    kill -TERM "$pid" || fail "process $pid is another user's: stop it first"
    flock --wait "$STOP_WITHIN" "$lock" true || fail "process $pid does not stop; its logs are in .local/logs"
}

# A server whose owner was killed. A pid alone may be somebody else's by now; with the time of its
# start it is not.
end_leftover() {
    local pid started now
    read -r pid started <"$1" || return 0
    now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20) || return 0
    if [ "$now" = "$started" ]; then
        echo "Ending process $pid, which was left behind"
        kill -KILL "$pid" || fail "process $pid is another user's: end it first"
    fi
}

remove_data() {
    local elsewhere
    # Where Postgres could not enter this clone, its data is outside, behind a link.
    elsewhere=$(readlink .local/data/postgres || true)
    case "$elsewhere" in
        /var/tmp/local-stack-*) remove "$elsewhere" ;;
    esac
    remove .local/data .local/logs
    echo "Data and logs are removed."
}

remove() {
    rm -rf "$@" || fail "some of it belongs to another user: run make clean as that user, or as root"
}

fail() {
    echo "clean: $1" >&2
    exit 1
}

main
