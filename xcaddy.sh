#!/usr/bin/env bash
# Builds ./caddy with Bentihooks in it: with xcaddy if that is on PATH, else with go build. Arguments are
# passed on to xcaddy, such as --with another/plugin. From the environment: CADDY_VERSION (xcaddy only), TAGS.
set -euo pipefail
cd "$(dirname "$0")"

tags="${TAGS:-nobadger,nomysql,nopgx}" # what Caddy's ACME server could use besides; smaller without

if command -v xcaddy >/dev/null; then
	# The module proxy need not know a version of a module that is taken from this folder.
	export GOPRIVATE="github.com/bentihooks/bentihooks${GOPRIVATE:+,$GOPRIVATE}"
	XCADDY_GO_BUILD_FLAGS="-trimpath -ldflags='-s -w' -tags=$tags" \
		xcaddy build ${CADDY_VERSION:+"$CADDY_VERSION"} --output ./caddy --with github.com/bentihooks/bentihooks=. "$@"
else
	if [ $# -gt 0 ]; then
		echo "xcaddy.sh: arguments need xcaddy on PATH" >&2
		exit 2
	fi
	go build -trimpath -ldflags='-s -w' -tags="$tags" -o ./caddy ./cmd/caddy
fi
echo "built $(pwd)/caddy: $(./caddy version)"
