#!/usr/bin/env bash
# Reads every shell script of the repository without running it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

while IFS= read -r -d '' script; do
	bash -n "${script}"
done < <(find . \( -name .git -o -name node_modules -o -name bin -o -name data \) -prune -o \
	-type f \( -name '*.sh' -o -path ./.ci/run \) -print0)
