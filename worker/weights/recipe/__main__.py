"""The recipe as one command: train the built-in model, or measure a folder of weights."""

import argparse
from pathlib import Path

from tqdm import tqdm

from worker.engines.device import choose_device
from worker.engines.libraries import silence_libraries
from worker.engines.precision import choose_compute_dtype
from worker.weights.recipe.effort import REHEARSAL, Effort, Steps
from worker.weights.recipe.phases import Recipe, describe_device, evaluate


def main() -> None:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(prog="python -m worker.weights.recipe", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/weights/builtin"))
    parser.add_argument(
        "--state", type=Path, default=Path("build/weights/state"), help="where --resume looks"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps; 0.01 is a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="only measure this folder")
    parser.add_argument(
        "--straighten", type=Path, metavar="FOLDER", help="only the last phase, from this folder"
    )
    parser.add_argument(
        "--base", type=Path, metavar="FOLDER", help="only the base model, from this folder"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the evaluation's samples")
    parser.add_argument("--facts", nargs="*", default=[], metavar="NAME=VALUE", help="for the card")
    parser.add_argument("--no-compile", action="store_true", help="there is no C++ compiler")
    parser.add_argument(
        "--rehearse", action="store_true", help="tiny batches and samples, to try the recipe itself"
    )
    args = parser.parse_args()
    effort = REHEARSAL if args.rehearse else Effort(share=args.share)
    silence_libraries()
    device = choose_device()
    precision = choose_compute_dtype(device)
    if args.evaluate:
        facts = dict(fact.split("=", 1) for fact in args.facts)
        evaluate(args.evaluate, device, precision, facts=facts, effort=effort)
        return
    recipe = Recipe(
        out=args.out,
        state=args.state,
        steps=Steps().scaled(args.scale),
        seed=args.seed,
        device=device,
        precision=precision,
        resume=args.resume,
        compiled=not args.no_compile,
        effort=effort,
    )
    if args.straighten:
        tqdm.write(f"straightening {args.straighten} on {describe_device(device, precision)}")
        recipe.straighten(args.straighten)
        return
    if args.base:
        tqdm.write(f"training from {args.base} on {describe_device(device, precision)}")
        recipe.train_base(args.base)
        return
    if args.resume and args.state.exists():
        tqdm.write(
            f"going on from what {args.state} holds, on {describe_device(device, precision)}"
        )
    else:
        tqdm.write(f"timing a few steps on {describe_device(device, precision)}")
        tqdm.write(f"about {recipe.estimate()} for all steps here, and some minutes to measure")
    recipe.run()


if __name__ == "__main__":
    main()
