#!/usr/bin/env bash
# What only a GPU can show, in one command: bash experiments/gpu/run.sh RESULTS [tests] [speed] [trainings] [evaluations]
#
# RESULTS gets tests.jsonl, speed.jsonl, the runs of trainings.txt below runs/, the records of evaluations.txt, and a log of each. A stage that
# is done is left out the next time, one that was broken off goes on; nothing is fetched. Knobs, with their defaults:
#   PYTHON=python3          the interpreter that has torch and this project's dependencies
#   DEVICE=cuda             cpu tries the script itself where there is no GPU
#   SMALL=                  1: everything in its smallest form (what the project's tests run)
#   TESTS_SECONDS=600 SPEED_SECONDS=900 TRAININGS_SECONDS=3600 EVALUATIONS_SECONDS=3600
#   ONLY=                   a pattern for the names of trainings.txt and evaluations.txt
#   SIDE_BY_SIDE=4          trainings or evaluations on the card at a time
set -u
cd "$(dirname "$0")/../.."
RESULTS=${1:?usage: bash experiments/gpu/run.sh RESULTS [tests] [speed] [trainings] [evaluations]}
shift
STAGES=${*:-tests speed trainings evaluations}
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} SMALL=${SMALL:-} ONLY=${ONLY:-}
mkdir -p "$RESULTS"
RESULTS=$(cd "$RESULTS" && pwd)
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 IDINVERT_CACHE=${IDINVERT_CACHE:-$RESULTS/cache}
failed=0

stage() { # NAME SECONDS COMMAND...: runs it within its time, unless it is done
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    if [ -e "$RESULTS/$name.done" ]; then
        echo "$name: done before"
        return
    fi
    if timeout --signal=TERM --kill-after=30 "$seconds" "$@" >>"$RESULTS/$name.log" 2>&1; then
        touch "$RESULTS/$name.done"
        echo "$name: done in $((SECONDS - began)) s"
    else
        echo "$name: stopped with $? after $((SECONDS - began)) s, see $RESULTS/$name.log"
        failed=1
    fi
}

tests() {
    IDINVERT_GPU_TESTS_ON=$DEVICE IDINVERT_GPU_RECORD=$RESULTS/tests.jsonl \
        stage tests "${TESTS_SECONDS:-600}" "$PYTHON" -m pytest tests/gpu -n "${TEST_PROCESSES:-6}" \
        -p no:cacheprovider --show-capture=no ${SMALL:+-k "recorded or metric or replayed or own_photographs or checkpointed_inversion"}
}

speed() { # NAME WORDS...: one benchmark
    local name=speed-$1
    shift
    stage "$name" "${SPEED_SECONDS:-900}" "$PYTHON" experiments/speed/full_scale.py \
        --device "$DEVICE" --record "$RESULTS/speed.jsonl" "$@"
}

speeds() {
    local full=() mini=(scale=miniature scale.resolution=64 "scale.channels=[128,96,64,32,32]")
    if [ -n "$SMALL" ]; then
        full=(scale.resolution=16 "scale.channels=[8,8,8]" scale.encoder_channels=8 scale.encoder_channels_max=16)
        full+=(--steps 1 --repeats 1 --batch 2 --train-steps 1 --pairs 4 --side 32)
        speed inversion --stages matmul,inversion --variants usual,eager,graphs "${full[@]}"
        speed training --stages encoder,gan --variants graphs "${full[@]}"
        return
    fi
    speed inversion --stages matmul,inversion --variants usual,eager,graphs --batch 1,4,16,64
    speed checkpoint --stages inversion,encoder --variants eager,checkpoint --precision tf32,bf16 --batch 1,16,32
    for memory in 8 24; do # GiB: what fits at 1,024 px
        speed 1024px-$memory --stages inversion --variants eager,checkpoint --precision fp32,bf16 --batch 1,2,4 \
            --memory $memory scale.resolution=1024 generator=stylegan2 discriminator=stylegan2
    done
    speed compiled --stages matmul,inversion --variants compile,compile+graphs --precision bf16 --batch 16,64
    speed inversion64 --stages matmul,inversion --variants usual,eager,graphs --batch 1,4,16,64 scale.resolution=64
    speed encoder --stages encoder --variants eager,graphs,compile --precision tf32,bf16,bf16+tf32 --batch 16,32
    speed gan256 --stages gan --variants eager,graphs --batch 32
    speed gan64 --stages gan --variants eager,graphs --precision tf32,bf16 --batch 32,64,256 --train-steps 64 "${mini[@]}"
    speed metrics --stages metrics
}

training() { # NAME SECONDS WORDS...: one run of trainings.txt; the same command goes on with it
    local name=$1 seconds=$2
    shift 2
    # Words of the file may be quoted for a shell, and name what an earlier training left below $RESULTS.
    eval "set -- $*"
    stage "training-$name" "$seconds" "$PYTHON" train.py "$@" "system.outputs=$RESULTS/runs" \
        system.cuda_graphs=true system.tf32=true checkpoint.every_nimg=100_000 logging.every_nimg=20_000 \
        logging.validate_every_nimg=100_000 logging.panel_every_nimg=500_000 logging.panel_directions=null \
        ${SMALL:+nimg=4 batch_size=4 data.train=8 data.val=2 data.test=2}
}

evaluation() { # NAME SECONDS WORDS...: one line of evaluations.txt
    local name=$1 seconds=$2
    shift 2
    eval "set -- $*"
    stage "evaluation-$name" "$seconds" "$PYTHON" evaluate.py -m "$@" "system.outputs=$RESULTS/evaluations" \
        system.cuda_graphs=true batch_size=500 ${SMALL:+n=4 batch_size=4 data.test=8}
}

listed() { # KIND SECONDS: all lines of KINDs.txt that the time allows, in order
    local kind=$1 running=0 began=$SECONDS name words left
    while read -r name words; do
        case $name in '' | '#'*) continue ;; esac
        [[ -n $ONLY && ! $name =~ $ONLY ]] && continue
        left=$(($2 - SECONDS + began))
        [ "$left" -le 0 ] && echo "$kind-$name: no time is left" && failed=1 && continue
        "$kind" "$name" "$left" "$words" &
        running=$((running + 1))
        if [ "$running" -ge "${SIDE_BY_SIDE:-4}" ]; then
            wait -n
            running=$((running - 1))
        fi
    done <"experiments/gpu/${kind}s.txt"
    wait
}

for each in $STAGES; do
    case $each in
    tests) tests ;;
    speed) speeds ;;
    trainings) listed training "${TRAININGS_SECONDS:-3600}" ;;
    evaluations) listed evaluation "${EVALUATIONS_SECONDS:-3600}" ;;
    *) echo "unknown stage $each: tests, speed, trainings or evaluations" >&2 && exit 2 ;;
    esac
done
exit $failed
