"""``echocascade bench``: speed of every part on this machine."""

from typing import Annotated

import typer

from echocascade.commands.console import print_json, user_errors


def bench(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else")
    ] = False,
    peer: Annotated[
        str | None, typer.Option(help="Measure it too: imagen-pytorch (`make peer` first)")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", help="A network of the authors: 1scm_base, 2scm_base, 2scm_tssr, "
                     "4scm_ssr; the first three by default"),
    ] = None,
    dtypes: Annotated[
        list[str] | None, typer.Option("--dtype", help="fp32, bf16, and tf32 on a GPU")
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option("--batch", help="Samples at a time; 1 and 2 by default")
    ] = None,
    runs: Annotated[int, typer.Option(help="Measured runs; their median counts")] = 5,
    warmup: Annotated[int, typer.Option(help="Runs before them")] = 1,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile")] = False,
    graphs: Annotated[bool, typer.Option("--cuda-graphs", help="Use CUDA graphs")] = False,
    params_file: Annotated[
        str | None, typer.Option("--params", help="The cascade whose sampler is measured")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of PyTorch; all cores by default")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="START", help="Only what begins so, e.g. network/2scm_base or data"),
    ] = None,
) -> None:  # fmt: skip
    """Time, FLOP/s, share of this machine's peak and memory of every part; JSON and a page."""
    from echocascade.commands import benching

    with user_errors(*benching.USER_ERRORS):
        given = {
            "device": device, "peer": peer, "sizes": sizes, "dtypes": dtypes, "batches": batches,
            "runs": runs, "warmup": warmup, "compiled": compiled, "graphs": graphs,
            "params_file": params_file, "threads": threads, "only": only,
        }  # fmt: skip
        done = benching.bench({k: v for k, v in given.items() if v is not None}, quiet=as_json)
    if as_json:
        print_json(done.content)
    else:
        typer.echo(done.text)
