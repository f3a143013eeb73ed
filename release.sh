#!/usr/bin/env bash
# Builds a release into dist/: Caddy with Bentihooks for each system, its checksums, and a bill of materials for each
# (CycloneDX). Needs Go and, for the last, the Go module proxy. Usage: ./release.sh v1.2.3 [os/arch...]
set -euo pipefail
cd "$(dirname "$0")"

version="${1:?usage: ./release.sh v1.2.3 [os/arch...]}"
if ! [[ "$version" =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "release.sh: $version is no version like v1.2.3" >&2
	exit 2
fi
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
	targets=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64)
fi
tags=nobadger,nomysql,nopgx # see xcaddy.sh
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

rm -rf dist
mkdir dist
for target in "${targets[@]}"; do
	name="bentihooks-$version-${target%/*}-${target#*/}"
	suffix=""
	[ "${target%/*}" = windows ] && suffix=.exe
	echo "building $name"
	CGO_ENABLED=0 GOOS="${target%/*}" GOARCH="${target#*/}" go build -trimpath -tags="$tags" \
		-ldflags="-s -w -X github.com/bentihooks/bentihooks/caddymodule.version=$version" -o "dist/$name$suffix" ./cmd/caddy
	# What went into the binary is read from the binary.
	go run "$cyclonedx" bin -json -version "$version" -output "dist/$name.cdx.json" "dist/$name$suffix"
done
(cd dist && sha256sum -- * >SHA256SUMS)
cat dist/SHA256SUMS
