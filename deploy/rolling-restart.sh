#!/bin/sh
# Restarts the instances one after the other, and no request is lost: nginx sends an instance nothing more before it
# stops, and something again only once it is ready. Run from the folder of docker-compose.yml:
#
#     deploy/rolling-restart.sh [INSTANCE…]      # all of them if none is named
#
# COMPOSE=docker-compose for the older one. The containers are made anew, on a new image if there is one; with
# RESTART=restart they stay what they are.
# If an instance does not become ready, the script ends there: that one stays out, the others have what they had.
set -eu

compose=${COMPOSE:-docker compose}
restart=${RESTART:-up -d --no-deps --force-recreate}
conf=${NGINX_CONF:-deploy/nginx.conf}
patience=${PATIENCE:-120} # seconds, for an instance to become ready and for requests to end

[ $# -gt 0 ] || set -- $(sed -n 's/^ *server \([^ :]*\):.*/\1/p' "$conf")

fail() {
    echo "rolling-restart: $*" >&2
    exit 1
}

# Edits nginx.conf in its place, since a file that is mounted into a container stays the one it was, and has it read.
edit() {
    edited=$(sed "$1" "$conf")
    printf '%s\n' "$edited" > "$conf"
    $compose exec -T nginx nginx -t -q -c /etc/nginx/nginx.conf
    $compose exec -T nginx sh -c 'kill -HUP 1'
}

until_() {
    what=$1
    shift
    end=$(($(date +%s) + patience))
    until "$@"; do
        [ "$(date +%s)" -lt "$end" ] || fail "$what"
        sleep 0.2
    done
}

# The workers of nginx, each between spaces. That there are none can only mean that they cannot be seen.
workers() {
    list=$($compose exec -T nginx cat /proc/1/task/1/children | tr '\n' ' ')
    [ -n "${list# }" ] || return 1
    echo " $list "
}

# The workers of before the reload ($1) have ended, and with them the last connection on which a client could still
# have sent a request to the instance.
drained() {
    now=$(workers) || return 1
    for worker in $1; do
        case $now in *" $worker "*) return 1 ;; esac
    done
}

ready() {
    $compose exec -T "$1" python -c \
        "from urllib.request import urlopen; urlopen('http://127.0.0.1:4000/health/ready', timeout=5)" 2>/dev/null
}

for instance; do
    grep -q "^ *server $instance:[0-9]* " "$conf" || fail "$conf has no server $instance"
done
for instance; do
    echo "$instance: out"
    before=$(workers) || fail "the workers of nginx cannot be seen"
    edit "s/^\( *server $instance:[0-9]* \)\(weight\)/\1down \2/"
    until_ "the requests of before do not end; $instance is out, and still runs" drained "$before"
    echo "$instance: restarts"
    $compose $restart "$instance"
    until_ "$instance does not become ready, and stays out" ready "$instance"
    edit "s/^\( *server $instance:[0-9]* \)down /\1/"
    echo "$instance: back"
done
