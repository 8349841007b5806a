#!/usr/bin/env bash
# The CUDA kernels on this machine's GPU: the conformance suite, graph capture and the benchmark, Nsight Compute, compute-sanitizer. Where TensorRT or TensorRT-RTX is found
# (DRIVEWAM_TENSORRT, else by the system's loader): engines of the small policy are built, self-tested, and a ride on them is compared. Writes one text report.
#
#   tests/gpu/run.sh [REPORT]          default: docs/gpu/report.txt
#
# Runs what was built beforehand, so that it can be carried to a machine without a Rust toolchain:
#   make gpu        (target/gpu/drivewam-gpu, target/gpu/build_engines, engines/kernels)
# Exit status: 0 all passed, 1 something failed, 77 no GPU: nothing was run, and no report is written.
set -u
cd "$(dirname "$0")/../.."
REPORT=${1:-docs/gpu/report.txt}
PROGRAM=${DRIVEWAM_GPU:-target/gpu/drivewam-gpu}
BUILDER=${DRIVEWAM_BUILD_ENGINES:-target/gpu/build_engines}
KERNELS=${DRIVEWAM_KERNELS:-engines/kernels}
PYTHON=${PYTHON:-python3}

if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "tests/gpu/run.sh: did not run: no NVIDIA GPU answers on this machine" >&2
    exit 77
fi
for needed in "$PROGRAM" "$BUILDER" "$KERNELS/kernels.yaml"; do
    if [ ! -e "$needed" ]; then
        echo "tests/gpu/run.sh: $needed is not there: build it first, as the head of this file says" >&2
        exit 1
    fi
done

mkdir -p "$(dirname "$REPORT")"
ASIDE=$(mktemp "$REPORT.XXXXXX")
WORK=$(mktemp -d)
trap 'rm -rf "$ASIDE" "$WORK"' EXIT
status=0

# Runs a part, its words into the report; a part that fails, or is not done in three minutes (exit status 124), is told and the others still run.
part() {
    local title=$1
    shift
    printf '\n== %s\n' "$title" | tee -a "$ASIDE"
    if timeout 180 "$@" >"$WORK/out" 2>&1; then
        cat "$WORK/out" >>"$ASIDE"
        echo "-- passed" | tee -a "$ASIDE"
    else
        local code=$?
        cat "$WORK/out" >>"$ASIDE"
        echo "-- FAILED, exit status $code" | tee -a "$ASIDE"
        status=1
    fi
}

# compute-sanitizer ends with 86 when it found something; other failures mean that it could not look, which is told apart.
sanitize() {
    local tool=$1 code
    printf '\n== compute-sanitizer, %s\n' "$tool" | tee -a "$ASIDE"
    if ! command -v compute-sanitizer >/dev/null; then
        echo "-- not run: compute-sanitizer is not installed" | tee -a "$ASIDE"
        return
    fi
    timeout 100 compute-sanitizer --tool "$tool" --error-exitcode 86 "$PROGRAM" --kernels "$KERNELS" suite --only many_tokens >"$WORK/out" 2>&1
    code=$?
    tail -n 40 "$WORK/out" >>"$ASIDE"
    case $code in
        0) echo "-- passed" | tee -a "$ASIDE" ;;
        86) echo "-- FAILED: it found errors" | tee -a "$ASIDE"; status=1 ;;
        *) echo "-- not run to its end: exit status $code (the sanitizer was refused, or took too long)" | tee -a "$ASIDE" ;;
    esac
}

{
    date -u '+%Y-%m-%d %H:%M UTC'
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    sed -n '1,6p' "$KERNELS/kernels.yaml"
} >>"$ASIDE"
part "conformance suite" "$PROGRAM" --kernels "$KERNELS" suite
printf '\n== benchmark (graph capture is part of it)\n' | tee -a "$ASIDE"
if timeout 180 "$PROGRAM" --kernels "$KERNELS" bench >"$WORK/bench.json" 2>"$WORK/err"; then
    part "beside PyTorch on the same GPU" "$PYTHON" tests/gpu/peers.py "$WORK/bench.json"
    cat "$WORK/bench.json" >>"$ASIDE"
else
    cat "$WORK/err" >>"$ASIDE"
    echo "-- FAILED" | tee -a "$ASIDE"
    status=1
fi

# The hardware's counters, of one commit's kernels in the midst of a run.
printf '\n== Nsight Compute\n' | tee -a "$ASIDE"
if ! command -v ncu >/dev/null; then
    echo "-- not run: ncu is not installed" | tee -a "$ASIDE"
elif timeout 100 ncu --clock-control none --kernel-name 'regex:^(score|decide|scatter)' --launch-skip 20 --launch-count 3 \
    --section SpeedOfLight --section MemoryWorkloadAnalysis --section SchedulerStats --section WarpStateStats --section LaunchStats --section Occupancy \
    "$PROGRAM" --kernels "$KERNELS" bench --commits 4 --rounds 2 >"$WORK/out" 2>&1; then
    grep -v '^==PROF==' "$WORK/out" >>"$ASIDE"
    echo "-- passed" | tee -a "$ASIDE"
else
    tail -n 20 "$WORK/out" >>"$ASIDE"
    echo "-- not run to its end (the profiler was refused, or took too long)" | tee -a "$ASIDE"
fi

sanitize memcheck
sanitize racecheck
sanitize initcheck

# Engines: built by the library of this machine for its GPU, then ridden beside the host.
engines() {
    local target=$1 library=$2 out
    out="$WORK/engines-$target"
    part "build_engines, $target ($library)" env DRIVEWAM_TENSORRT="$library" "$BUILDER" configs/tiny.yaml --target "tests/gpu/$target.yaml" --out "$out" --allow-unfused
    if [ -e "$out/manifest.yaml" ]; then
        cp "$out/dit.layers.json" "$(dirname "$REPORT")/dit.layers.$target.json" 2>/dev/null
        part "a ride on $target beside the host" env DRIVEWAM_TENSORRT="$library" "$PROGRAM" --kernels "$KERNELS" ride "tests/gpu/$target-ride.yaml" --engines "$out"
    fi
}
found=0
candidates=${DRIVEWAM_TENSORRT:-$(ldconfig -p 2>/dev/null | sed -n 's/.*=> \(.*lib\(nvinfer\|tensorrt_rtx\)\.so\.[0-9]*\)$/\1/p')}
for library in $candidates; do
    found=1
    case $library in
        *tensorrt_rtx*) engines tensorrt_rtx "$library" ;;
        *) engines tensorrt "$library" ;;
    esac
done
if [ $found = 0 ]; then
    printf '\n== engines\n-- not run: neither TensorRT nor TensorRT-RTX is found (DRIVEWAM_TENSORRT names a library)\n' | tee -a "$ASIDE"
fi
[ $status = 0 ] && echo "all passed" >>"$ASIDE" || echo "something FAILED" >>"$ASIDE"
chmod 644 "$ASIDE"
mv "$ASIDE" "$REPORT"
echo "written to $REPORT"
exit $status
