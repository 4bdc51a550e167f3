"""The table of the streaming workload."""

from statistics import median

TARGET = 5.0


def rates(runs, records):
    """Records a second with reading and without, of each round."""
    return [records / line["seconds"] for line, _ in runs], [records / held for _, held in runs if held]


def speed_table(options, contenders):
    yield "| | records/s | of each round | without reading | peak memory, MB | of a whole process, s |"
    yield "|---|---|---|---|---|---|"
    for name, runs in contenders.items():
        read, held = rates(runs, options.records)
        rounds, without = " ".join(f"{rate / 1000:.0f}k" for rate in read), f"{median(held):,.0f}" if held else ""
        peak, total = max(line["peak_rss_mb"] for line, _ in runs), median(line.get("seconds_total", 0) for line, _ in runs)
        yield f"| {name} | {median(read):,.0f} | {rounds} | {without} | {peak:.0f} | {total:.2f} |"


def ratio_lines(options, contenders):
    if "obvert" not in contenders:
        return
    for way, text in enumerate(("with reading", "without reading")):
        speeds = {name: median(rates(runs, options.records)[way] or [0]) for name, runs in contenders.items()}
        mine, best = speeds.pop("obvert"), max(speeds, key=speeds.get)
        if mine:
            yield f"- {text}: {mine / speeds[best]:.1f} × the best peer ({best}); wanted: {TARGET:.0f} ×"


def report(options, found, started_on):
    lines = [line for made in found.values() for runs in made.values() for line, _ in runs]
    peers = ", ".join(sorted({f"{line['engine']} {line['version']}" for line in lines}))
    yield f"# Streaming, side by side\n\n{started_on}\n\n{options.rounds} rounds by turns, {options.records} records, {peers}; medians."
    yield "`../peers/README.md` says how. All results were the same."
    for (work, workers), contenders in found.items():
        yield f"\n## {work}, {workers} worker{'s' if workers > 1 else ''}\n"
        yield from speed_table(options, contenders)
        yield ""
        yield from ratio_lines(options, contenders)
