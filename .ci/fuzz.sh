#!/usr/bin/env bash
# fuzz.sh [PACKAGE...]: runs every fuzz target of the packages, ./... unless
# some are named, one after the other, each for FUZZTIME (30s unless set).
#
# What a target finds lies in its package's testdata/fuzz afterwards, where the
# ordinary tests run it. All targets run whatever one of them finds; the exit
# status tells whether any did. Without a redis-server this loses nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fuzztime=${FUZZTIME:-30s}
if [[ $# -eq 0 ]]; then
	set -- ./...
fi

failed=()
count=0
while IFS= read -r dir; do
	while IFS= read -r target; do
		count=$((count + 1))
		name="${dir#"${PWD}"/} ${target}"
		echo "+ ${name} for ${fuzztime}"
		if ! go test "${dir}" -run='^$' -fuzz="^${target}\$" -fuzztime="${fuzztime}" -fuzzminimizetime=10s; then
			failed+=("${name}")
		fi
	done < <(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "${dir}"/*_test.go 2>/dev/null)
done < <(go list -f '{{.Dir}}' "$@")

if [[ ${count} -eq 0 ]]; then
	echo "fuzz.sh: there is no fuzz target in $*" >&2
	exit 1
fi
if [[ ${#failed[@]} -gt 0 ]]; then
	printf 'fuzz.sh: %s found something\n' "${failed[@]}" >&2
	exit 1
fi
echo "${count} fuzz targets, nothing found"
