#!/usr/bin/env bash
# Tests the CUDA kernels on this machine's GPU: conformance suite, benchmark with graph capture,
# Nsight Compute, compute-sanitizer. If TensorRT or TensorRT-RTX is found (DRIVEWAM_TENSORRT, else
# through the system's loader), it also builds and self-tests engines of the tiny policy and
# compares a ride on them with the host. Writes one text report.
#
#   tests/gpu/run.sh [REPORT]          default: docs/gpu/report.txt
#
# Runs programs that were built before, so that the machine needs no Rust toolchain:
#   make gpu        (target/gpu/drivewam-gpu, target/gpu/build_engines, engines/kernels)
# Exit status: 0 all passed; 1 a part failed; 77 no GPU: nothing was run and no report is written.
set -u
cd "$(dirname "$0")/../.."
REPORT=${1:-docs/gpu/report.txt}
PROGRAM=${DRIVEWAM_GPU:-target/gpu/drivewam-gpu}
BUILDER=${DRIVEWAM_BUILD_ENGINES:-target/gpu/build_engines}
KERNELS=${DRIVEWAM_KERNELS:-engines/kernels}
PYTHON=${PYTHON:-python3}

if ! nvidia-smi -L >/dev/null 2>&1; then
        echo "tests/gpu/run.sh: did not run: no NVIDIA GPU found on this machine" >&2
    exit 77
fi
for needed in "$PROGRAM" "$BUILDER" "$KERNELS/kernels.yaml"; do
    if [ ! -e "$needed" ]; then
                echo "tests/gpu/run.sh: $needed is missing: build it first, as the head of this file says" >&2
        exit 1
    fi
done

mkdir -p "$(dirname "$REPORT")"
TEMPORARY=$(mktemp "$REPORT.XXXXXX")
WORK=$(mktemp -d)
trap 'rm -rf "$TEMPORARY" "$WORK"' EXIT
status=0

# Runs a part and appends its output to the report. A part that fails, or takes longer than three
# minutes (exit status 124), is reported, and the others still run.
part() {
    local title=$1
    shift
    printf '\n== %s\n' "$title" | tee -a "$TEMPORARY"
    if timeout 180 "$@" >"$WORK/out" 2>&1; then
        cat "$WORK/out" >>"$TEMPORARY"
        echo "-- passed" | tee -a "$TEMPORARY"
    else
        local code=$?
        cat "$WORK/out" >>"$TEMPORARY"
        echo "-- FAILED, exit status $code" | tee -a "$TEMPORARY"
        status=1
    fi
}

# compute-sanitizer exits with 86 if it found errors. Other failures mean that it could not run, and
# are reported as such.
sanitize() {
    local tool=$1 code
    printf '\n== compute-sanitizer, %s\n' "$tool" | tee -a "$TEMPORARY"
    if ! command -v compute-sanitizer >/dev/null; then
        echo "-- not run: compute-sanitizer is not installed" | tee -a "$TEMPORARY"
        return
    fi
    timeout 100 compute-sanitizer --tool "$tool" --error-exitcode 86 "$PROGRAM" --kernels "$KERNELS" suite --only many_tokens >"$WORK/out" 2>&1
    code=$?
    tail -n 40 "$WORK/out" >>"$TEMPORARY"
    case $code in
        0) echo "-- passed" | tee -a "$TEMPORARY" ;;
        86) echo "-- FAILED: it found errors" | tee -a "$TEMPORARY"; status=1 ;;
                *) echo "-- incomplete: exit status $code (the sanitizer was refused, or took too long)" | tee -a "$TEMPORARY" ;;
    esac
}

{
    date -u '+%Y-%m-%d %H:%M UTC'
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    sed -n '1,6p' "$KERNELS/kernels.yaml"
} >>"$TEMPORARY"
part "conformance suite" "$PROGRAM" --kernels "$KERNELS" suite
printf '\n== benchmark (graph capture is part of it)\n' | tee -a "$TEMPORARY"
if timeout 180 "$PROGRAM" --kernels "$KERNELS" bench >"$WORK/bench.json" 2>"$WORK/err"; then
    part "comparison with PyTorch on the same GPU" "$PYTHON" tests/gpu/peers.py "$WORK/bench.json"
    cat "$WORK/bench.json" >>"$TEMPORARY"
else
    cat "$WORK/err" >>"$TEMPORARY"
    echo "-- FAILED" | tee -a "$TEMPORARY"
    status=1
fi

# Hardware counters of the kernels of one commit within a run.
printf '\n== Nsight Compute\n' | tee -a "$TEMPORARY"
if ! command -v ncu >/dev/null; then
    echo "-- not run: ncu is not installed" | tee -a "$TEMPORARY"
elif timeout 100 ncu --clock-control none --kernel-name 'regex:^(score|decide|scatter)' --launch-skip 20 --launch-count 3 \
    --section SpeedOfLight --section MemoryWorkloadAnalysis --section SchedulerStats --section WarpStateStats --section LaunchStats --section Occupancy \
    "$PROGRAM" --kernels "$KERNELS" bench --commits 4 --rounds 2 >"$WORK/out" 2>&1; then
    grep -v '^==PROF==' "$WORK/out" >>"$TEMPORARY"
    echo "-- passed" | tee -a "$TEMPORARY"
else
    tail -n 20 "$WORK/out" >>"$TEMPORARY"
        echo "-- incomplete (the profiler was refused, or took too long)" | tee -a "$TEMPORARY"
fi

sanitize memcheck
sanitize racecheck
sanitize initcheck

# Builds engines with a library of this machine for its GPU, and compares a ride on them with the
# host.
engines() {
    local target=$1 library=$2 out
    out="$WORK/engines-$target"
    part "build_engines, $target ($library)" env DRIVEWAM_TENSORRT="$library" "$BUILDER" configs/tiny.yaml --target "tests/gpu/$target.yaml" --out "$out" --allow-unfused
    if [ -e "$out/manifest.yaml" ]; then
        cp "$out/dit.layers.json" "$(dirname "$REPORT")/dit.layers.$target.json" 2>/dev/null
        part "a ride on $target compared with the host" env DRIVEWAM_TENSORRT="$library" "$PROGRAM" --kernels "$KERNELS" ride "tests/gpu/$target-ride.yaml" --engines "$out"
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
        printf '\n== engines\n-- not run: found neither TensorRT nor TensorRT-RTX (DRIVEWAM_TENSORRT names a library)\n' | tee -a "$TEMPORARY"
fi
[ $status = 0 ] && echo "all passed" >>"$TEMPORARY" || echo "at least one part FAILED" >>"$TEMPORARY"
chmod 644 "$TEMPORARY"
mv "$TEMPORARY" "$REPORT"
echo "written to $REPORT"
exit $status
