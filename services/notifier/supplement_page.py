"""A supplement as a page to print, in Indonesian, without anything from outside."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from services.notifier import supplement_words as words
from services.notifier.domain.supplements import Entry, Total
from services.notifier.domain.voters import Kind
from services.notifier.supplements import Supplement
from shared.region_codes import district_of
from shared.regions import regions

# A page of more would be a book; CSV and XLSX have no such limit.
MOST_CHANGES: Final = 20_000

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE: Final = """
@page { size: A4; margin: 18mm 14mm }
body { font: 11pt/1.4 "Liberation Sans", Arial, sans-serif; color: #111; margin: 0 auto;
  max-width: 182mm; padding: 1rem }
h1 { font-size: 16pt; margin: 0 }
h2 { font-size: 12pt; margin: 1.6em 0 .4em; break-after: avoid }
h3 { font-size: 11pt; margin: 1.2em 0 .3em; break-after: avoid }
p.under { margin: .2em 0 1em }
table { border-collapse: collapse; width: 100% }
thead { display: table-header-group }
tr { break-inside: avoid }
th, td { border: 1px solid #999; padding: .15em .4em; text-align: left; vertical-align: top;
  font-size: 9pt }
th { background: #eee }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
tfoot td { font-weight: bold }
code { font: 8.5pt "Liberation Mono", monospace; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em; margin: 0 }
dt { color: #555 } dd { margin: 0 }
"""


def page(supplement: Supplement, entries: Iterable[Entry]) -> str:
    """The whole page."""
    return "".join(_page(supplement, list(entries)))


def _page(supplement: Supplement, entries: list[Entry]) -> Iterator[str]:
    head = supplement.head
    title = f"Suplemen Daftar Pemilih Nomor {head.number}"
    yield (
        "<!doctype html><html lang=id><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)} – {escape(head.election)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1><p class=under>Pemilihan <b>{escape(head.election)}</b>,"
        f" {words.day(head.made_at)}</p>"
    )
    yield _about(supplement)
    yield from _recapitulation(supplement.totals)
    yield from _by_village(entries)
    yield (
        "<p>Pemilih disebut dengan nomor penduduk (<code>resident_id</code>). NIK dan nama tidak"
        " dimuat; yang berwenang memintanya kepada Dukcapil.</p></html>"
    )


def _about(supplement: Supplement) -> str:
    head = supplement.head
    numbers = f"{words.number(head.from_sequence + 1)} s.d. {words.number(head.to_sequence)}"
    facts = (
        ("Dibuat", words.moment(head.made_at)),
        ("Perubahan", f"{words.number(supplement.changes)} (urutan {numbers})"),
        (
            "Urutan desa",
            f"{words.number(head.villages_from)} s.d. {words.number(head.villages_to)}",
        ),
        ("SHA-256", f"<code>{supplement.hash}</code>"),
        (
            "SHA-256 suplemen sebelumnya",
            f"<code>{head.previous_hash}</code>" if head.previous_hash else "tidak ada",
        ),
    )
    return "<dl>" + "".join(f"<dt>{name}<dd>{value}" for name, value in facts) + "</dl>"


def _recapitulation(totals: list[Total]) -> Iterator[str]:
    heads = "".join(f"<th class=n>{name}" for name in words.TOTALS)
    yield (
        "<h2>Rekapitulasi per desa/kelurahan</h2><table><thead><tr><th>Kode<th>Desa/kelurahan"
        f"{heads}</thead><tbody>"
    )
    for total in totals:
        yield (
            f"<tr><td>{total.village}<td>{escape(words.village_name(total.village))}"
            f"{_numbers(total)}"
        )
    yield f"</tbody><tfoot><tr><td colspan=2>Jumlah{_numbers(_sum(totals))}</tfoot></table>"


def _numbers(total: Total) -> str:
    return "".join(f"<td class=n>{words.number(value)}" for value in total[1:])


def _sum(totals: list[Total]) -> Total:
    columns = list(zip(*(total[1:] for total in totals), strict=True))
    return Total("", *(sum(column) for column in columns))


def _by_village(entries: list[Entry]) -> Iterator[str]:
    yield "<h2>Perubahan per desa/kelurahan</h2>"
    villages: dict[str, list[Entry]] = {}
    for entry in entries:
        for village in (entry.from_village, entry.to_village):
            if village is not None:
                villages.setdefault(village, []).append(entry)
    for village, changes in sorted(villages.items()):
        district = regions().get(district_of(village))
        place = f"{words.village_name(village)}, {district.name}" if district else ""
        yield f"<h3>{village} {escape(place)}</h3>"
        yield "<table><thead><tr><th>Urutan<th>Pemilih<th>Perubahan<th>Sebab<th>Waktu<th>Tahapan"
        yield "</thead><tbody>"
        yield from (_row(village, entry) for entry in changes)
        yield "</tbody></table>"


def _row(village: str, entry: Entry) -> str:
    return (
        f"<tr><td class=n>{words.number(entry.sequence)}<td><code>{entry.voter}</code>"
        f"<td>{escape(_what(village, entry))}<td>{escape(words.reason(entry))}"
        f"<td>{words.moment(entry.time)}<td>{escape(entry.stage or '')}"
    )


def _what(village: str, entry: Entry) -> str:
    if entry.kind != Kind.MOVED:
        return words.KINDS[entry.kind]
    if village == entry.from_village:
        return f"pindah ke {entry.to_village} {words.village_name(entry.to_village)}"
    return f"pindah dari {entry.from_village} {words.village_name(entry.from_village)}"
