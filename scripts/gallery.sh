#!/usr/bin/env bash
# Makes the pictures of docs/figures.md and docs/report.md (but for that of a page), from runs made for them, in the folder gallery/ (which a
# second call uses again). Options: see setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

setup
mkdir -p gallery
python=$VENV/bin/python

search() { # ranks, experiment, results file, option…
    local ranks=$1 experiment=$2 results=gallery/$3
    shift 3
    if [ "$ranks" = 1 ]; then
        "$python" -m phs_mpi "scripts/examples/$experiment" --quiet --output "$results" "$@"
    else
        mpirun_here -n "$ranks" "$python" -m phs_mpi "scripts/examples/$experiment" --quiet \
            --output "$results" "$@"
    fi
}

say "searches"
search 4 griewank30.py griewank.h5
search 4 training.py training.h5
for seed in 1 2 3 4 5; do
    search 1 griewank30.py "seed$seed.h5" --seed "$seed"
done
for seed in 1 2 3 4; do
    search 1 griewank30_forest.py "forest$seed.h5" --seed "$seed"
done

say "pictures"
plot() { "$python" -m phs_mpi plot --dpi 110 "$@"; }
cd gallery
plot griewank.h5
plot training.h5 evolution timeline slices importance calibration
plot training.h5 scatter --parameters rate,optimizer
plot griewank.h5 scatter --contour --out contour
plot training.h5 scatter --contour --parameters rate,width --out contour
plot seed?.h5 convergence --optimum 0
"$python" -m phs_mpi compare seed[1-4].h5 forest?.h5 --optimum 0 --out compared
plot training.h5 combination --dpi 95
plot griewank.h5 scatter --animate --dpi 70

# Pages load faster with few colours, and hardly anybody sees the difference.
"$python" - <<'PYTHON'
from pathlib import Path
from PIL import Image

images = Path("../docs/images/figures")
images.mkdir(parents=True, exist_ok=True)
NAMES = {"contour": ("scatter", "contour"), "compared": ("seed1.convergence", "compared")}
for source in (*Path().glob("*.png"), *Path().glob("*/*.png")):
    name = source.name.replace(*NAMES[source.parent.name]) if source.parent.name else source.name
    picture = Image.open(source).convert("RGB")
    colours = 64 if name == "training.combination.png" else 256
    picture = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(images / name, optimize=True)
Path("griewank.scatter.gif").replace(images / "griewank.scatter.gif")
PYTHON
