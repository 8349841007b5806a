"""The result of bench.py as Markdown."""

from __future__ import annotations

import textwrap

COLUMNS = 100


def wrapped(page: str) -> str:
    """`page` with its paragraphs wrapped at `COLUMNS`; headings and tables stay as they are."""
    lines: list[str] = []
    for line in page.split("\n"):
        keep = line.startswith(("#", "|")) or len(line) <= COLUMNS
        lines += (
            [line]
            if keep
            else textwrap.wrap(line, COLUMNS, break_long_words=False, break_on_hyphens=False)
        )
    return "\n".join(lines)


def interval(s: dict, digits: int) -> str:
    """A median and, in brackets, the range of nine rounds of ten."""
    return f"{s['median']:.{digits}f} [{s['low']:.{digits}f}, {s['high']:.{digits}f}]"


def of_size(name: str, size: dict) -> list[str]:
    lines = [
        f"## {name}",
        "",
        "| who | ms a chunk | times ours on ort | times ours on rten |",
        "|---|---|---|---|",
    ]
    for who, chunk_ms in size["chunk_ms"].items():
        ort, rten = (interval(size[key][who], 2) for key in ("times_ours_ort", "times_ours_rten"))
        lines.append(f"| {who} | {interval(chunk_ms, 1)} | {ort} | {rten} |")
    products, outside = size["products"], size["outside_engines"].items()
    lines += [
        "",
        f"The chunk's matrix products alone ({products['gflop']:.2f} GFLOP) take "
        f"{products['alone_ms']:.1f} ms in `torch.matmul`: "
        f"{100 * products['share_of_ours_ort']:.0f} % of ours on ort, "
        f"{100 * products['share_of_ours_rten']:.0f} % on rten. Outside of engines: "
        + ", ".join(f"{100 * share:.2f} % ({who})" for who, share in outside)
        + ".",
        "",
    ]
    return lines


def of_selection(name: str, found: dict) -> list[str]:
    lines = [
        f"## Host selection, {name}",
        "",
        "| who | ms a chunk, all layers | times ours |",
        "|---|---|---|",
    ]
    for who, chunk_ms in found["chunk_ms"].items():
        lines.append(
            f"| {who} | {interval(chunk_ms, 3)} | {interval(found['times_ours'][who], 2)} |"
        )
    rate = f"{100 * found['share_of_product_rate']:.0f} %"
    lines += [
        "",
        f"{found['gflop']:.3f} GFLOP a chunk, at {rate} of the rate of the plain product q k^T in "
        "`torch.matmul`.",
        "",
    ]
    return lines


def markdown(report: dict) -> str:
    command = (
        f"python -m drivewam_export.bench --rounds {report['rounds']} --chunks {report['chunks']}"
    )
    lines = [
        "# Bench",
        "",
        f"`{command}`, as `make bench` does with 12 and 4; {report['threads']} threads; "
        f"{report['machine']}. In brackets: nine rounds of ten.",
        "",
    ]
    for name, size in report["sizes"].items():
        lines += of_size(name, size)
    for name, found in report["selection"].items():
        lines += of_selection(name, found)
    return wrapped("\n".join(lines))
